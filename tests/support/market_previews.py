"""What importing a recording would store."""

from pathlib import Path
from typing import Any

from pipelines.ingestion.markets.checks import check_quotes
from pipelines.ingestion.markets.importing import ImportReport, preview_recording
from pipelines.ingestion.markets.recordings import read_recording

SERIES = {"KXBTCD": "BTC", "KXBTC15M": "BTC"}


def preview(path: Path) -> ImportReport:
    """The report of an import into an empty database."""
    return preview_recording(path, SERIES)


def rejected(report: ImportReport) -> dict[str, int]:
    """Rejected rows by reason."""
    return {one.reason: one.rows for one in report.rejected}


def quotes(path: Path) -> list[tuple[Any, ...]]:
    """Times, bids and sizes of the quotes to store, by ticker and time."""
    found = read_recording(path)
    assert found.quotes is not None
    frame, _, _ = check_quotes(found.quotes, found.markets, found.rejections)
    return frame.select("quoted_at", "yes_bid", "yes_bid_size", "no_bid", "no_bid_size", "volume").rows()
