"""Loading a symbol's champion: everything that a published generation needs to answer."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipelines.domain.configuration.model import MODEL_NAME
from pipelines.domain.prices.live_volatility import LiveVolatility
from pipelines.domain.prices.ticks import minutes_of
from pipelines.errors import NoDataError, StrikecastError
from pipelines.live.symbol_refresher import Champion
from pipelines.storage.live.ticks import minute_closes
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import ModelVersion, read_version
from pipelines.storage.models.tables import read_fingerprints
from pipelines.storage.models.volatility import newest_state
from pipelines.storage.postgres.connection import Connection, Database, DriverError, Role, full_message

#: The longest half-life of volatility is half a day: what is older than this says nothing any more.
LONGEST_LOOK_BACK = timedelta(days=3)


@dataclass(frozen=True)
class NewChampions:
    """What was published: champions by symbol, and why those of other symbols cannot be read."""

    loaded: Mapping[str, Champion]
    unreadable: Mapping[str, str]


def load_new_champions(
    database: Database, application: str, symbols: Sequence[str], used: Mapping[str, int | None], *, replayed: bool
) -> NewChampions:
    """Champions of the symbols whose published generation is not the one in use (None: none yet).

    `replayed`: whether prices are replayed; the ticks of the other kind are another market's.
    """
    loaded, unreadable = {}, {}
    with database.connect(application, Role.LIVE) as connection:
        published = champion_generations(connection, symbols)
        for symbol, generation in published.items():
            if used.get(symbol) == generation:
                continue
            try:
                with connection.transaction():
                    loaded[symbol] = _load(connection, read_version(connection, generation), replayed)
            except (StrikecastError, DriverError, ValueError, KeyError, TypeError) as error:
                if connection.closed:
                    raise
                unreadable[symbol] = (
                    f"generation {generation} cannot be read: {type(error).__name__}: {full_message(error)}"
                )
    return NewChampions(loaded, unreadable)


def _load(connection: Connection, version: ModelVersion, replayed: bool) -> Champion:
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
            since = max(datetime.fromtimestamp((state.minute + 1) * 60, UTC), now - LONGEST_LOOK_BACK)
            ticks = minute_closes(connection, version.symbol, since, replayed=replayed)
            volatility.add_all((minutes_of(at), price) for at, price in ticks)
    return Champion(version, rule, baseline, volatility, now)
