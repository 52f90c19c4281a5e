"""Ingestion: incremental, idempotent, atomic, and isolated between symbols."""

import gzip
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from real_data import real_data
from synthetic_prices import ingest_bars
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.domain.models.invariants import Gap, find_gaps
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.errors import PriceFileError, ServerUnavailableError, StrikecastError
from pipelines.ingestion.ingest import IngestReport, ingest
from pipelines.ingestion.price_files import BarBlock, StagedBars
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices import history as prices

pytestmark = pytest.mark.usefixtures("no_bars")

NOW = datetime(2026, 8, 1, tzinfo=UTC)
FIRST_MINUTE = 28_998_560
SYNTHETIC = generate_bars(SimulationParameters(100.0, gaps_per_day=0.0), days=1, end_minute=29_000_000, seed=7)
BARS = SYNTHETIC.frame().with_columns(timestamp=pl.Series(SYNTHETIC.minutes)).rename({"timestamp": "time"})
#: Bars and quarantined rows with xmin and ctid, so that rewriting a row without changes is detected.
STATE = """
    SELECT xmin::text, ctid::text, to_jsonb(b) FROM historical_data.price_history AS b WHERE symbol = %(symbol)s
    UNION ALL
    SELECT xmin::text, ctid::text, to_jsonb(q) FROM historical_data.quarantined_bar AS q WHERE symbol = %(symbol)s
    ORDER BY 3
"""
INGESTIONS = """
    SELECT rows_read, inserted, corrected, unchanged, quarantined, files FROM ops.ingestion
    WHERE symbol = %s ORDER BY ingestion_id
"""
BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'strikecast ingest'"
)
Rows = list[tuple[Any, ...]]


def text_of(bars: pl.DataFrame, *, shift_hours: int = 0) -> str:
    return bars.with_columns(pl.from_epoch((pl.col("time") + shift_hours * 60) * 60)).write_csv()


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def rows(database: Database, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Rows:
    with database.connect("test", None) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def state(database: Database, symbol: str) -> tuple[Rows, Rows]:
    return rows(database, STATE, {"symbol": symbol}), rows(database, INGESTIONS, [symbol])


def closes_of(database: Database, symbol: str) -> dict[int, float]:
    with database.connect("test", Role.READER) as connection:
        closes = prices.read_closes(connection, symbol)
    return dict(zip(closes.minutes.tolist(), closes.usd.tolist(), strict=True))


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.inserted, report.corrected, report.unchanged, report.quarantined


def test_the_same_file_twice_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path, "twice.csv", text_of(BARS) + "junk\n2025-02-19 00:00:00,0,1,1,1,1\n")
    assert counts(ingest(database, "TWICE", [path], NOW)) == (1440, 0, 0, 2)
    before, _ = state(database, "TWICE")
    assert counts(ingest(database, "TWICE", [path], NOW)) == (0, 0, 1440, 2)
    assert state(database, "TWICE")[0] == before
    assert len(before) == 1442


def test_overlapping_files_are_incremental(database: Database, tmp_path: Path) -> None:
    ingest(database, "PARTS", [written(tmp_path, "b.csv", text_of(BARS[400:1000]))], NOW)
    before, _ = state(database, "PARTS")
    paths = [written(tmp_path, "c.csv", text_of(BARS[900:])), written(tmp_path, "a.csv", text_of(BARS[:450]))]
    assert counts(ingest(database, "PARTS", paths, NOW)) == (840, 0, 150, 0)
    after, _ = state(database, "PARTS")
    assert [row for row in after if row in before] == before
    assert list(closes_of(database, "PARTS").values()) == BARS["close"].to_list()


def test_a_corrected_bar_replaces_the_stored_one_and_is_counted(database: Database, tmp_path: Path) -> None:
    ingest(database, "FIX", [written(tmp_path, "a.csv", text_of(BARS))], NOW)
    before, _ = state(database, "FIX")
    close, volume = BARS["close"].to_list(), BARS["volume"].to_list()
    close[100], volume[200] = BARS["low"][100], 0.0
    fixed = BARS.with_columns(close=pl.Series(close), volume=pl.Series(volume))
    assert counts(ingest(database, "FIX", [written(tmp_path, "b.csv", text_of(fixed))], NOW)) == (0, 2, 1438, 0)
    after, _ = state(database, "FIX")
    assert len(after) == 1440
    assert sorted(row[2]["volume"] for row in after if row not in before) == [0.0, BARS["volume"][100]]
    assert list(closes_of(database, "FIX").values()) == close


def test_an_unreadable_file_changes_nothing_even_with_a_valid_one(database: Database, tmp_path: Path) -> None:
    ingest(database, "KEEP", [written(tmp_path, "stored.csv", text_of(BARS[:600]))], NOW)
    before = state(database, "KEEP")
    good = written(tmp_path, "good.csv", text_of(BARS))
    packed = gzip.compress(text_of(BARS).encode())
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(packed[: len(packed) * 3 // 4])
    column = written(tmp_path, "column.csv", BARS.rename({"close": "last"}).write_csv())
    for bad in (cut, column, tmp_path / "missing.csv"):
        for paths in ([bad], [good, bad], [bad, good]):
            with pytest.raises(PriceFileError, match=bad.name):
                ingest(database, "KEEP", paths, NOW)
            assert state(database, "KEEP") == before


def test_a_file_in_another_time_zone_is_rejected_unless_corrections_are_accepted(
    database: Database, tmp_path: Path
) -> None:
    ingest(database, "ZONE", [written(tmp_path, "utc.csv", text_of(BARS))], NOW)
    before = state(database, "ZONE")
    shifted = written(tmp_path, "karachi.csv", text_of(BARS, shift_hours=5))
    with pytest.raises(
        PriceFileError, match=r"^karachi.csv contradicts .* when moved by -5 h.*nothing was stored"
    ) as raised:
        ingest(database, "ZONE", [shifted], NOW)
    assert "\n" not in str(raised.value)
    assert state(database, "ZONE") == before
    report = ingest(database, "ZONE", [shifted], NOW, accept_corrections=True)
    assert report.inserted == 300
    assert report.corrected + report.unchanged == 1140
    assert list(closes_of(database, "ZONE").values())[300:] == BARS["close"].to_list()


def test_a_file_of_another_symbol_is_rejected_without_a_time_shift_hint(database: Database, tmp_path: Path) -> None:
    ingest(database, "OTHER", [written(tmp_path, "stored.csv", text_of(BARS))], NOW)
    before = state(database, "OTHER")
    doubled = BARS.with_columns(pl.col("open", "high", "low", "close") * 2)
    with pytest.raises(
        PriceFileError, match=r"contradicts 1,440 of the 1,440 stored OTHER closes it overlaps; nothing"
    ):
        ingest(database, "OTHER", [written(tmp_path, "doubled.csv", text_of(doubled))], NOW)
    assert state(database, "OTHER") == before


def after_first_block(monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[str], None]) -> None:
    """Call `interrupt` with the first source's name after the first block of bars was sent."""
    blocks = StagedBars.blocks

    def interrupted(staged: StagedBars) -> Iterator[BarBlock]:
        for block in blocks(staged):
            yield block
            interrupt(staged.sources[0].name)

    monkeypatch.setattr(StagedBars, "blocks", interrupted)


@pytest.mark.parametrize("stored", [0, 600])
def test_an_error_midway_rolls_everything_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    def fail(_: str) -> None:
        raise OSError("disk failure")

    def terminate(_: str) -> None:
        assert rows(database, f"SELECT pg_terminate_backend(pid, 10000) FROM ({BACKENDS}) AS b") == [(True,)]

    symbol = f"ERR{stored}"
    if stored:
        ingest(database, symbol, [written(tmp_path, "stored.csv", text_of(BARS[:stored]))], NOW)
    before = state(database, symbol)
    path = written(tmp_path, "all.csv", text_of(BARS) + "junk\n")
    after_first_block(monkeypatch, fail)
    with pytest.raises(OSError, match="disk failure"):
        ingest(database, symbol, [path], NOW)
    assert state(database, symbol) == before
    monkeypatch.undo()
    after_first_block(monkeypatch, terminate)
    with pytest.raises(ServerUnavailableError):
        ingest(database, symbol, [path], NOW)
    assert state(database, symbol) == before
    monkeypatch.undo()
    assert counts(ingest(database, symbol, [path], NOW)) == (1440 - stored, 0, stored, 1)


CHILD = """
import signal, sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.ingestion import price_files
from pipelines.storage.postgres.connection import Database
from pipelines.ingestion.ingest import ingest
price_files.BLOCK_ROWS = 100  # libpq buffers the end of the last block, so several are needed
blocks = price_files.StagedBars.blocks
def all_but_the_end(staged):
    yield from blocks(staged)
    signal.pause()
price_files.StagedBars.blocks = all_but_the_end
ingest(Database(sys.argv[1]), sys.argv[2], [Path(sys.argv[3])], datetime.now(UTC))
"""


@pytest.mark.parametrize("stored", [0, 600])
def test_a_process_killed_during_copy_stores_nothing(database: Database, tmp_path: Path, stored: int) -> None:
    symbol = f"KILL{stored}"
    if stored:
        ingest(database, symbol, [written(tmp_path, "stored.csv", text_of(BARS[:stored]))], NOW)
    before = state(database, symbol)
    path = written(tmp_path, "all.csv", text_of(BARS))
    child = subprocess.Popen([sys.executable, "-c", CHILD, database.url, symbol, str(path)])
    try:
        copied = f"SELECT 1 FROM pg_stat_progress_copy JOIN ({BACKENDS}) AS b USING (pid) WHERE tuples_processed > 0"
        wait_until(lambda: rows(database, copied) or child.poll() is not None, "rows in COPY")
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    wait_until(lambda: not rows(database, BACKENDS), "the backend to exit")
    assert state(database, symbol) == before
    assert counts(ingest(database, symbol, [path], NOW)) == (1440 - stored, 0, stored, 0)


def test_the_counts_of_a_report_add_up_and_are_recorded(database: Database, tmp_path: Path) -> None:
    ingest(database, "SUM", [written(tmp_path, "first.csv", text_of(BARS[:600]))], NOW)
    text = text_of(BARS[500:700]) + text_of(BARS[699:700]).splitlines()[1] + "\njunk\n,1,1,1,1,1\n"
    report = ingest(database, "SUM", [written(tmp_path, "second.csv", text)], NOW)
    assert counts(report) == (100, 0, 100, 2)
    assert report.rows_read == sum(counts(report)) + report.repeated == len(text.splitlines()) - 1
    assert report.reasons == {"bad_time": 1, "malformed": 1}
    assert state(database, "SUM")[1] == [(600, 600, 0, 0, 0, ["first.csv"]), (203, 100, 0, 100, 2, ["second.csv"])]
    quarantined = "SELECT reason, count(*) FROM historical_data.quarantined_bar WHERE symbol = 'SUM' GROUP BY reason"
    assert dict(rows(database, quarantined)) == report.reasons
    with database.connect("test", Role.READER) as connection:
        summary = prices.summarize_bars(connection, "SUM")
        newest = datetime.fromtimestamp((FIRST_MINUTE + 699) * 60, UTC)
        assert (summary.bars, summary.last_bar_at) == (700, newest)
        assert prices.newest_bar_at(connection, "SUM") == newest


def test_a_quarantined_row_keeps_its_reason_and_text(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path, "odd.csv", text_of(BARS[:2]) + "j\xfcnk \\ \t x\n2025-02-19 00:00:00,1,\\N,\\u0000,é,'\n")
    ingest(database, "ODD", [path], NOW)
    found = rows(
        database,
        "SELECT source_row, reason, source_file, file_sha256, raw FROM historical_data.quarantined_bar "
        "WHERE symbol = 'ODD' ORDER BY source_row",
    )
    assert [row[:3] for row in found] == [(3, "malformed", "odd.csv"), (4, "not_a_number", "odd.csv")]
    assert {row[3] for row in found} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert found[0][4]["text"] == "j\xfcnk \\ \t x"
    assert found[1][4]["text"] == "2025-02-19 00:00:00,1,\\N,\\u0000,é,'"


def test_concurrent_ingestions_of_one_file_store_it_once(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path, "all.csv", text_of(BARS) + "junk\n")
    ready = threading.Barrier(3, timeout=TIMEOUT_SECONDS)

    def together(message: str) -> None:
        if "storing" in message:
            ready.wait()

    def run(_: int) -> IngestReport:
        return ingest(database, "SAME", [path], NOW, log=together)

    with ThreadPoolExecutor(3) as threads:
        reports = sorted(counts(report) for report in threads.map(run, range(3)))
    assert reports == [(0, 0, 1440, 1), (0, 0, 1440, 1), (1440, 0, 0, 1)]
    assert len(state(database, "SAME")[0]) == 1441


@contextmanager
def held_ingestion(database: Database, symbol: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A first ingestion of `symbol` from `path` that is paused during COPY within the context."""
    copying, release = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == path.name:
            copying.set()
            assert release.wait(TIMEOUT_SECONDS)

    after_first_block(monkeypatch, hold)
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(ingest, database, symbol, [path], NOW)
        try:
            assert copying.wait(TIMEOUT_SECONDS)
            yield
        finally:
            release.set()
        assert held.result().inserted == 1440


def test_ingestions_of_two_symbols_are_independent(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_timeouts = Database(database.url, lock_timeout_seconds=1)
    halved = BARS.with_columns(pl.col("open", "high", "low", "close") / 2)
    with held_ingestion(database, "LEFT", written(tmp_path, "held.csv", text_of(BARS)), monkeypatch):
        ingest(with_timeouts, "RIGHT", [written(tmp_path, "right.csv", text_of(halved))], NOW)
    assert list(closes_of(database, "LEFT").values()) == BARS["close"].to_list()
    assert list(closes_of(database, "RIGHT").values()) == halved["close"].to_list()


def test_an_ingestion_that_times_out_waiting_for_another_reports_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_timeouts = Database(database.url, lock_timeout_seconds=1)
    with held_ingestion(database, "BUSY", written(tmp_path, "held.csv", text_of(BARS)), monkeypatch):
        with pytest.raises(StrikecastError) as raised:
            ingest(with_timeouts, "BUSY", [written(tmp_path, "late.csv", text_of(BARS))], NOW)
        assert "\n" not in str(raised.value)


@pytest.mark.embedded_only
def test_a_year_with_gaps_loads_completely(database: Database, tmp_path: Path) -> None:
    bars = generate_bars(SimulationParameters(40_000.0), days=365, end_minute=29_000_000, seed=8)
    ingest_bars(database, "YEAR", bars, tmp_path)
    with database.connect("test", Role.READER) as connection:
        closes = prices.read_closes(connection, "YEAR")
    assert np.array_equal(closes.minutes, bars.minutes)
    assert np.array_equal(closes.usd, bars.close)
    missing = sum(gap.missing_minutes for gap in find_gaps(closes.minutes))
    assert missing == 365 * 1440 - len(bars.minutes) > 300
    assert rows(database, INGESTIONS, ["YEAR"]) == [
        (len(bars.minutes), len(bars.minutes), 0, 0, 0, ["YEAR_0_None.parquet"])
    ]


@pytest.mark.real_data
@pytest.mark.embedded_only
def test_five_real_years_load_completely(database: Database) -> None:
    price_file = real_data("prices/btc_1m.parquet")
    report = ingest(database, "BTC", [price_file], NOW)
    assert counts(report) == (2_628_970, 0, 0, 0)
    with database.connect("test", Role.READER) as connection:
        closes = prices.read_closes(connection, "BTC")
    assert np.array_equal(closes.usd, pl.read_parquet(price_file, columns=["close"])["close"].to_numpy())
    assert find_gaps(closes.minutes) == [
        Gap(27_147_000, 27_147_269),
        Gap(27_214_980, 27_215_099),
        Gap(27_994_360, 27_994_439),
    ]
    assert [gap.missing_minutes for gap in find_gaps(closes.minutes)] == [270, 120, 80]
