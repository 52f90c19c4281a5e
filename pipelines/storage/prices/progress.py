"""Progress of the assets that are updated by increments, and the symbols whose bars changed since their last build."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.domain.prices.bars import instant_of_minute, minute_of_instant
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)


@dataclass(frozen=True)
class Progress:
    """Progress of an asset that is updated incrementally; instants are minutes since 1970 UTC.

    `parameters_id`, `profile`: by which it was computed, None where it has none; `ingestion_id`: newest ingestion
    included; `done_until`: bars closed by then are included; `changed_from`: oldest minute whose bar changed since,
    None if none.
    """

    parameters_id: int | None
    profile: str | None
    ingestion_id: int
    done_until: int
    changed_from: int | None

    @property
    def stale_from(self) -> int:
        """Oldest minute to recompute."""
        return self.done_until if self.changed_from is None else min(self.done_until, self.changed_from)


def read_progress(connection: Connection, symbol: str, asset: str) -> Progress | None:
    """Progress of an asset, with the oldest bar stored or corrected since; None before its first update."""
    row = connection.execute(SQL["progress"], [symbol, asset]).fetchone()
    if row is None:
        return None
    parameters_id, profile, ingestion_id, done_until, changed_at = row
    changed_from = None if changed_at is None else minute_of_instant(changed_at)
    return Progress(parameters_id, profile, ingestion_id, minute_of_instant(done_until), changed_from)


def newest_ingestion(connection: Connection, symbol: str) -> int:
    """Id of the newest ingestion. Read it before the bars, so that none is missed."""
    return int(read_value(connection, SQL["newest_ingestion"], [symbol]))


def record_progress(
    connection: Connection,
    symbol: str,
    asset: str,
    ingestion_id: int,
    done_until: int,
    *,
    parameters_id: int | None = None,
    profile: str | None = None,
) -> None:
    """Record an asset's progress; belongs in the transaction that stores its rows."""
    parameters = {
        "symbol": symbol,
        "asset": asset,
        "ingestion_id": ingestion_id,
        "parameters_id": parameters_id,
        "profile": profile,
        "done_until": instant_of_minute(done_until),
    }
    connection.execute(SQL["record_progress"], parameters)


def restart(connection: Connection, symbol: str, assets: Sequence[str]) -> None:
    """Have the next update of assets begin at the first bar, because bars were removed."""
    connection.execute(SQL["restart"], [symbol, list(assets)])


def symbols_to_build(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """Those of the symbols whose bars changed since their newest published generation, with their newest ingestion."""
    return dict(connection.execute(SQL["symbols_to_build"], [list(symbols)]).fetchall())
