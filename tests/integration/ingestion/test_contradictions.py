"""Files that contradict the stored bars of their symbol, or of another one, are refused whole."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from price_file_formats import SampleBar, lines, sample_bars, stamp

from pipelines.errors import PriceFileError
from pipelines.ingestion.ingest import ingest
from pipelines.storage.postgres.connection import Database, Role

pytestmark = pytest.mark.usefixtures("no_bars")

NOW = datetime(2026, 8, 1, tzinfo=UTC)
HEADER = "timestamp,open,high,low,close,volume"
BTC = sample_bars(1_440)


def written(folder: Path, name: str, bars: list[SampleBar], shift: timedelta = timedelta()) -> Path:
    path = folder / name
    path.write_text(lines(HEADER, [(stamp(SampleBar(bar.at + shift, *bar.values)), *bar.values) for bar in bars]))
    return path


def related(bars: list[SampleBar], level: float) -> list[SampleBar]:
    """Another coin: correlated returns of its own, at another level."""
    random = np.random.default_rng(4)
    closes = np.array([bar.close for bar in bars])
    returns = np.diff(np.log(closes), prepend=np.log(closes[0]))
    own = np.round(level * np.exp(np.cumsum(0.8 * returns + random.normal(0, 4e-4, len(bars)))), 2).tolist()
    opens = [own[0], *own[:-1]]
    return [
        SampleBar(bar.at, o, round(max(o, c) + 0.5, 2), round(min(o, c) - 0.5, 2), c, bar.volume)
        for bar, o, c in zip(bars, opens, own, strict=True)
    ]


def stored_bars(database: Database, symbol: str) -> int:
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT count(*) FROM historical_data.price_history WHERE symbol = %s", [symbol]
        ).fetchone()
    assert row is not None
    return int(row[0])


ETH = related(BTC, 2_280.0)


@pytest.mark.parametrize("hours", [-5, 1, 9])
def test_a_shifted_clock_is_found_by_another_symbols_returns(database: Database, tmp_path: Path, hours: int) -> None:
    ingest(database, "BTC", [written(tmp_path, "a.csv", BTC)], NOW)
    shifted = written(tmp_path, "b.csv", ETH, timedelta(hours=hours))
    with pytest.raises(
        PriceFileError, match=re.escape(f"agree with those of BTC when its times are moved by {-hours:+d} h")
    ):
        ingest(database, "ETH", [shifted], NOW)
    assert stored_bars(database, "ETH") == 0
    assert ingest(database, "ETH", [shifted], NOW, accept_corrections=True).inserted == 1_440


def test_times_of_a_bars_end_are_found_by_another_symbols_returns(database: Database, tmp_path: Path) -> None:
    ingest(database, "BTC", [written(tmp_path, "a.csv", BTC)], NOW)
    with pytest.raises(PriceFileError, match=r"when its times are moved by -1 min"):
        ingest(database, "ETH", [written(tmp_path, "b.csv", ETH, timedelta(minutes=1))], NOW)
    assert ingest(database, "ETH", [written(tmp_path, "c.csv", ETH)], NOW).inserted == 1_440


def test_another_symbols_prices_are_found_by_their_level(database: Database, tmp_path: Path) -> None:
    ingest(database, "ETH", [written(tmp_path, "a.csv", ETH)], NOW)
    with pytest.raises(PriceFileError, match="its closes are those of ETH"):
        ingest(database, "BTC", [written(tmp_path, "b.csv", ETH[:500])], NOW)
    assert stored_bars(database, "BTC") == 0


@pytest.mark.parametrize("offset", [timedelta(days=1), timedelta(days=-3)])
def test_prices_at_another_level_than_the_stored_ones_nearby_are_refused(
    database: Database, tmp_path: Path, offset: timedelta
) -> None:
    ingest(database, "BTC", [written(tmp_path, "a.csv", BTC)], NOW)
    with pytest.raises(PriceFileError, match="is not at the level of the stored BTC close"):
        ingest(database, "BTC", [written(tmp_path, "b.csv", ETH, offset)], NOW)
    later = written(tmp_path, "c.csv", sample_bars(600, price=BTC[-1].close, seed=5), timedelta(days=1))
    assert ingest(database, "BTC", [later], NOW).inserted == 600


def test_a_few_overlapping_bars_at_another_level_are_refused(database: Database, tmp_path: Path) -> None:
    ingest(database, "BTC", [written(tmp_path, "a.csv", BTC[:100])], NOW)
    with pytest.raises(PriceFileError, match="its closes are not at the level of the stored BTC closes"):
        ingest(database, "BTC", [written(tmp_path, "b.csv", ETH[90:300])], NOW)
    assert stored_bars(database, "BTC") == 100


def test_minutes_that_are_left_out_are_counted(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", BTC)
    report = ingest(database, "BTC", [path], NOW, skip_minutes=[(BTC[0].at, BTC[1_000].at)])
    assert (report.inserted, report.archived, report.rows_read) == (440, 1_000, 1_440)
    assert ingest(database, "BTC", [path], NOW).inserted == 1_000
