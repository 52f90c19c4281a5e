"""Update momentum and the gap report: by increments, or from all bars."""

from dataclasses import dataclass

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.invariants import Gap, find_gaps
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.prices.history import (
    MomentumReport,
    newest_bar_before,
    read_closes,
    read_gaps,
    write_gaps,
    write_momentum,
)
from pipelines.storage.prices.progress import newest_ingestion, read_progress, record_progress

MOMENTUM, GAPS = "momentum", "price_gap"
#: Minutes of bars before a bar that its momentum needs.
LOOK_BACK_MINUTES = 31


@dataclass(frozen=True)
class MomentumUpdate:
    """Result of an update of momentum. `bars`: closes that were read; `since`: first minute updated, 0 for all."""

    report: MomentumReport
    bars: int
    since: int


def update_momentum(
    connection: Connection, symbol: str, model: ModelConfig, *, incremental: bool = False
) -> MomentumUpdate:
    """Make stored momentum that of the bars; needs a transaction. Raises as `read_closes` does.

    `incremental`: only from the first bar stored or corrected since the last update. In the source profile lags count
    rows, so that a bar depends on any earlier one: it is always updated from all bars.
    """
    lock_symbol(connection, "strikecast.momentum", symbol)
    ingestion, progress = newest_ingestion(connection, symbol), read_progress(connection, symbol, MOMENTUM)
    since = 0
    if incremental and model.profile is Profile.SOUND and progress is not None and progress.profile == model.profile:
        since = progress.stale_from
    closes = read_closes(connection, symbol, since - LOOK_BACK_MINUTES)
    report = write_momentum(connection, symbol, closes, compute_momentum(closes, model), since)
    end = int(closes.minutes[-1]) + 1
    record_progress(connection, symbol, MOMENTUM, ingestion, end, profile=str(model.profile))
    return MomentumUpdate(report, len(closes), since)


def update_gaps(connection: Connection, symbol: str, *, incremental: bool = False) -> list[Gap]:
    """Make the gap report that of the bars, and return it, oldest first; needs a transaction.

    `incremental`: only from the newest bar before the first one stored or corrected since the last update. Raises as
    `read_closes` does.
    """
    lock_symbol(connection, "strikecast.price_gap", symbol)
    ingestion, progress = newest_ingestion(connection, symbol), read_progress(connection, symbol, GAPS)
    since = 0
    if incremental and progress is not None:
        since = newest_bar_before(connection, symbol, progress.stale_from) or 0
    closes = read_closes(connection, symbol, since)
    write_gaps(connection, symbol, find_gaps(closes.minutes), since)
    record_progress(connection, symbol, GAPS, ingestion, int(closes.minutes[-1]) + 1)
    return read_gaps(connection, symbol)
