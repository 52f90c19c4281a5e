"""Loading a symbol's champion: everything that a published generation needs to answer."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pipelines.domain.config import MODEL_NAME
from pipelines.domain.live_volatility import LiveVolatility
from pipelines.domain.ticks import minutes_of
from pipelines.errors import NoDataError
from pipelines.live.symbol import Champion
from pipelines.storage.database import Connection, Database, Role
from pipelines.storage.generations import ModelVersion, read_version
from pipelines.storage.live import champion_generations, minute_closes
from pipelines.storage.tables import read_fingerprints
from pipelines.storage.volatility import newest_state


def load_new_champions(
    database: Database, application: str, symbols: Sequence[str], used: Mapping[str, int | None]
) -> dict[str, Champion]:
    """Champions of the symbols whose published generation is not the one in use (None: none yet)."""
    with database.connect(application, Role.LIVE) as connection:
        published = champion_generations(connection, symbols)
        return {
            symbol: _load(connection, read_version(connection, generation))
            for symbol, generation in published.items()
            if used.get(symbol) != generation
        }


def _load(connection: Connection, version: ModelVersion) -> Champion:
    """The volatility goes on from the newest bar through the ticks since."""
    rule, baseline, volatility = version.rule, None, None
    now = datetime.now(UTC)
    if version.model == MODEL_NAME:
        with suppress(NoDataError):  # imported without one
            baseline = read_fingerprints(connection, version, baseline_only=True)
    if rule.volatility is not None:
        with suppress(NoDataError):
            state = newest_state(connection, version.symbol)
            volatility = LiveVolatility(state, rule.volatility)
            since = datetime.fromtimestamp((state.minute + 1) * 60, UTC)
            ticks = minute_closes(connection, version.symbol, since)
            volatility.add_all((minutes_of(at), price) for at, price in ticks)
    return Champion(version, rule, baseline, volatility, now)
