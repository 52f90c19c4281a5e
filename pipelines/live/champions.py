"""Champions: the published generations that a live session answers from."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite

from pipelines.domain.configuration.model import MODEL_NAME
from pipelines.domain.models.base import Rule
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.prices.outliers import OutlierFilter
from pipelines.domain.prices.ticks import minutes_of
from pipelines.domain.prices.volatility import LiveVolatility
from pipelines.errors import NoDataError
from pipelines.storage.live.sessions import APPLICATION
from pipelines.storage.live.ticks import minute_prices
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import ModelVersion, read_version
from pipelines.storage.models.tables import read_fingerprints
from pipelines.storage.models.volatility import latest_volatility_state
from pipelines.storage.postgres.connection import Connection, Database, Role, full_message

#: The longest half-life of volatility is half a day: older ticks have no influence.
LONGEST_LOOK_BACK = timedelta(days=3)


@dataclass(frozen=True)
class Champion:
    """A published generation with its rule and what the rule needs.

    `baseline`: answers for the momentum model while momentum is unknown; None for imported tables and other models.
    `volatility`: updated with each tick; None for a rule that does not use it. `loaded_at` (aware UTC): later ticks are
    not in `volatility` yet.
    """

    version: ModelVersion
    rule: Rule
    baseline: FingerprintSet | None
    volatility: LiveVolatility | None
    loaded_at: datetime


def load_new_champions(
    database: Database, current: Mapping[str, int | None], *, replayed: bool
) -> dict[str, Champion | str]:
    """The champions whose published generation differs from the `current` one of the symbol (None: no champion).

    Instead of a champion that cannot be read, the reason. `replayed` selects the ticks that update volatility: replayed
    or real ones.
    """
    found: dict[str, Champion | str] = {}
    with database.connect(APPLICATION, Role.LIVE) as connection:
        for symbol, generation in champion_generations(connection, list(current)).items():
            if current[symbol] == generation:
                continue
            try:
                with connection.transaction():
                    found[symbol] = _load(connection, read_version(connection, generation), replayed)
            except Exception as error:
                if connection.closed:
                    raise
                reason = f"{type(error).__name__}: {full_message(error)}"
                found[symbol] = f"generation {generation} cannot be read: {reason}"
    return found


def _load(connection: Connection, version: ModelVersion, replayed: bool) -> Champion:
    rule, baseline, volatility = version.rule, None, None
    now = datetime.now(UTC)
    if version.model == MODEL_NAME:
        with suppress(NoDataError):  # imported tables may have no baseline
            baseline = read_fingerprints(connection, version, baseline_only=True)
    if rule.volatility is not None:
        with suppress(NoDataError):
            state = latest_volatility_state(connection, version.symbol)
            # A replay moves smoothly from open to close.
            volatility = LiveVolatility(state, rule.volatility, with_ranges=not replayed)
            since = max(datetime.fromtimestamp((state.minute + 1) * 60, UTC), now - LONGEST_LOOK_BACK)
            outliers = OutlierFilter(state.close if isfinite(state.close) else None)
            for at, price, prices in minute_prices(connection, version.symbol, since, replayed=replayed):
                if outliers.refusal(price) is None:
                    volatility.add(minutes_of(at), price, prices)
    return Champion(version, rule, baseline, volatility, now)
