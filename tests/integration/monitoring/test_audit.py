"""An audit on a real server: known loads are found, a healthy system has no grave finding, what is stored comes back."""

import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape

import orjson
import psutil
import pytest
from auditing import value_of
from waiting import wait_until

from pipelines.domain.monitoring.audit.document import document_of
from pipelines.domain.monitoring.audit.measurements import Figure
from pipelines.domain.monitoring.audit.report import Kind
from pipelines.errors import NoDataError
from pipelines.monitoring.audit import processes, queries
from pipelines.monitoring.audit.json_document import plain
from pipelines.monitoring.audit.render import html, markdown
from pipelines.monitoring.audit.run import collect, run
from pipelines.settings import Settings
from pipelines.storage.monitoring.audits import baseline, name_baseline, newest_audit, read_audit
from pipelines.storage.postgres.connection import Database, Role


def test_what_was_stored_comes_back_and_every_figure_follows_from_its_samples(
    published: Database, settings: Settings
) -> None:
    done = run(settings, published, Kind.QUICK).audit
    assert done.audit_id is not None
    with published.connect("test", Role.READER) as connection:
        assert newest_audit(connection) == done.audit_id
        again = read_audit(connection, done.audit_id)
        wrong = connection.execute(
            "SELECT count(*) FROM ops.audit_figure WHERE audit_id = %s AND statistic = 'last' "
            "AND value <> samples[cardinality(samples)]",
            [done.audit_id],
        ).fetchone()
        with pytest.raises(NoDataError, match="there is no audit 9999"):
            read_audit(connection, 9999)
        with pytest.raises(NoDataError, match="no baseline 'before'"):
            baseline(connection, "before")
    assert wrong == (0,)
    assert {one.key: one.value for one in again.figures} == {one.key: one.value for one in done.figures}
    assert (again.findings, again.judgements) == (done.findings, done.judgements)
    assert set(again.gaps) == set(done.gaps)
    assert again.scorecard == done.scorecard
    with published.connect("test", Role.PIPELINE) as connection:
        name_baseline(connection, "before", done.audit_id)
        assert baseline(connection, "before") == done.audit_id


#: Findings about a machine that is busy with other things.
SPEED = {"target reading a ladder's rows, p95"}


def test_a_healthy_system_has_no_grave_finding(published: Database, settings: Settings) -> None:
    done = collect(settings, published, Kind.QUICK)
    with published.connect("test", None) as connection:
        [autovacuum] = connection.execute("SHOW autovacuum").fetchone() or [None]
    # A server for tests may be set up without it, which is grave indeed.
    known = {"setting autovacuum"} if autovacuum == "off" else set()
    assert {one.key for one in done.findings if one.severity in {"P0", "P1"}} - SPEED == known
    for key in ("query p95 {query=lookup_rows, symbol=BTC}", "database_size", "connections", "host_load {minutes=1}"):
        assert value_of(done, key) >= 0
    assert "Seq Scan" not in next(one.note for one in done.figures if one.labels.get("query") == "lookup_rows")
    assert {one.name for one in done.gaps} >= {"processes of strikecast", "backups", "file of BTC", "availability"}
    assert done.cpu_seconds > 0


@pytest.mark.one_server
def test_every_form_tells_the_same(published: Database, settings: Settings) -> None:
    done = collect(settings, published, Kind.QUICK)
    document = document_of(done)
    page, text = html(document), markdown(document)
    shown = re.findall(r"<td[^>]*>(.*?)</td>", page)
    cells = [cell for section in document.sections for row in section.rows for cell in row]
    assert [unescape(cell) for cell in shown] == cells
    assert all(cell.replace("|", "\\|") in text for cell in cells)
    assert "http" not in page.replace("http://www.w3.org/", ""), "it needs nothing from elsewhere"
    raw = orjson.loads(orjson.dumps(plain(done)))
    assert [one["key"] for one in raw["figures"]] == [one.key for one in done.figures]
    assert raw["scorecard"]["grade"] == done.scorecard.grade


def statistic(database: Database, name: str) -> int:
    with database.connect("test", None) as connection:
        row = connection.execute(
            f"SELECT {name} FROM pg_stat_all_tables WHERE relid = 'live_data.bad'::regclass"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def badly_kept(database: Database) -> Iterator[str]:
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute("CREATE TABLE live_data.bad (a int, b int, c text) WITH (autovacuum_enabled = off)")
        connection.execute("INSERT INTO live_data.bad SELECT n, n % 10, 'x' FROM generate_series(1, 150000) AS n")
        connection.execute("CREATE INDEX bad_a ON live_data.bad (a)")
        connection.execute("CREATE INDEX bad_a_b ON live_data.bad (a, b)")
        connection.execute("DELETE FROM live_data.bad WHERE a % 3 = 0")
        connection.execute("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: statistic(database, "n_dead_tup") == 50_000, "the statistics to follow")
        yield "live_data.bad"
        connection.execute("DROP TABLE live_data.bad")


def test_dead_rows_a_redundant_index_and_sequential_scans_are_found(
    database: Database, settings: Settings, badly_kept: str
) -> None:
    before = run(settings, database, Kind.QUICK).audit
    scans = statistic(database, "seq_scan")
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute("UPDATE ops.audit SET started_at = started_at - interval '70 minutes'")
        connection.execute(
            "SET enable_indexscan = off; SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0"
        )
        for _ in range(25):
            connection.execute("SELECT count(*) FROM live_data.bad WHERE b = 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
    wait_until(lambda: statistic(database, "seq_scan") >= scans + 25, "the statistics to follow")
    assert f"sequential scans {badly_kept}" not in {one.key for one in before.findings}, "one look does not tell"
    done = collect(settings, database, Kind.QUICK)
    keys = {one.key for one in done.findings}
    assert {f"dead rows {badly_kept}", f"redundant index {badly_kept}_a", f"sequential scans {badly_kept}"} <= keys
    assert f"redundant index {badly_kept}_a_b" not in keys
    assert value_of(done, f"table_dead_rows {{table={badly_kept}}}") == 50_000
    parts = [one.value for one in done.figures if one.labels.get("table") == badly_kept and one.name == "table_size"]
    with database.connect("test", None) as connection:
        assert connection.execute("SELECT pg_total_relation_size(%s::regclass)", [badly_kept]).fetchone() == (
            sum(parts),
        )


def test_a_query_that_lost_its_index_is_grave(published: Database, settings: Settings) -> None:
    with published.connect("test", None) as connection:
        connection.execute("ALTER DATABASE {} SET enable_indexscan = off".format(published.parameters["dbname"]))
        connection.execute("ALTER DATABASE {} SET enable_bitmapscan = off".format(published.parameters["dbname"]))
    try:
        _, found = queries.measure(published, Role.AUDITOR, ["BTC"], 5, processes.Costs())
    finally:
        with published.connect("test", None) as connection:
            connection.execute("ALTER DATABASE {} RESET ALL".format(published.parameters["dbname"]))
    assert any(one.severity == "P1" and "lookup" in one.title for one in found)


def burn(share: float) -> None:
    while True:
        until = time.perf_counter() + 0.02 * share
        while time.perf_counter() < until:
            pass
        time.sleep(0.02 * (1 - share))


@pytest.mark.one_server
def test_a_process_that_burns_half_a_core_is_reported_within_five_points() -> None:
    burning = multiprocessing.get_context("spawn").Process(target=burn, args=(0.5,), daemon=True)
    burning.start()
    try:
        process = psutil.Process(burning.pid)
        since, began = time.monotonic(), process.cpu_times()
        measured = processes.measure(processes.ProcessInventory((processes.Named("burner", process),)), 10.0)
        ended, seconds = process.cpu_times(), time.monotonic() - since
    finally:
        burning.kill()
    figures: dict[str, Figure] = {one.name: one for one in measured.figures}
    truth = 100 * (sum(ended[:2]) - sum(began[:2])) / seconds
    assert figures["process_cpu"].value == pytest.approx(truth, abs=5)
    assert figures["process_uss"].value > 1e6
    assert figures["all_processes_cpu"].value == figures["process_cpu"].value


@pytest.mark.one_server
def test_operations_are_timed_and_leave_nothing_behind(published: Database, settings: Settings) -> None:
    with published.connect("test", Role.PIPELINE) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history "
            "SELECT 'BTC', '2026-01-01Z'::timestamptz + n * interval '1 minute', 1, 1, 1, 1, 1 FROM generate_series(1, 50000) AS n"
        )
    done = collect(settings, published, Kind.FULL)
    found = {one.labels["operation"]: one for one in done.figures if one.name == "operation" and one.statistic == "p50"}
    assert {name: len(one.samples) for name, one in found.items()} == {
        "single_insert": 200,
        "batch_insert_100": 20,
        "update": 200,
        "indexed_select": 200,
        "unindexed_select": 3,
    }
    assert found["unindexed_select"].value > 3 * found["indexed_select"].value, "50,000 rows are read"
    with published.connect("test", None) as connection:
        assert connection.execute("SELECT count(*) FROM ops.audit_scratch").fetchone() == (0,)
        connection.execute("DELETE FROM historical_data.price_history")


SHIFTED = """
UPDATE analytics.lookup SET prob_within_positive_hundredths =
    (SELECT array_agg(greatest(0, cell - 300)) FROM unnest(prob_within_positive_hundredths) AS cell)
WHERE prob_within_positive_hundredths IS NOT NULL
"""


@contextmanager
def damaged(published: Database, statement: str) -> Iterator[None]:
    """The lookup as a statement leaves it; as it was before, afterwards."""
    with published.connect("test", None) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM analytics.lookup")
        connection.execute(statement)
    try:
        yield
    finally:
        with published.connect("test", None) as connection:
            connection.execute("DELETE FROM analytics.lookup")
            connection.execute("INSERT INTO analytics.lookup SELECT * FROM kept")
            connection.execute("DROP TABLE kept")


@pytest.mark.one_server
def test_the_lookup_is_compared_with_what_it_stands_for(published: Database, settings: Settings) -> None:
    done = collect(settings, published, Kind.QUICK)
    assert 0 < value_of(done, "lookup_difference mean {symbol=BTC}") < 0.1
    with published.connect("test", None) as connection:
        connection.execute(SHIFTED)
        broken = collect(settings, published, Kind.QUICK)
        connection.rollback()
    assert value_of(broken, "lookup_difference max {symbol=BTC}") < 0.1, "what is not committed is not seen"
    with damaged(published, SHIFTED):
        wrong = collect(settings, published, Kind.QUICK)
    assert value_of(wrong, "lookup_difference max {symbol=BTC}") == pytest.approx(3.0, abs=0.1)
    assert "target lookup against interpolation" in {one.key for one in wrong.findings if one.severity == "P1"}


@pytest.mark.one_server
def test_growth_is_told_once_there_is_an_audit_of_an_hour_ago(published: Database, settings: Settings) -> None:
    first = run(settings, published, Kind.QUICK).audit
    with published.connect("test", None) as connection:
        connection.execute(
            "UPDATE ops.audit SET started_at = started_at - interval '1 day' WHERE audit_id = %s", [first.audit_id]
        )
        connection.execute("DELETE FROM ops.audit_baseline")
        connection.execute("DELETE FROM ops.audit WHERE audit_id < %s", [first.audit_id])
        connection.execute(
            "UPDATE ops.audit_figure SET value = value / 2 WHERE audit_id = %s AND key = 'table_rows {table=analytics.lookup}'",
            [first.audit_id],
        )
    done = collect(settings, published, Kind.QUICK)
    size = sum(
        one.value for one in done.figures if one.name == "table_size" and one.labels["table"] == "analytics.lookup"
    )
    assert value_of(done, "table_growth {table=analytics.lookup}") == pytest.approx(size / 2, rel=0.01)
    assert value_of(done, "tables_size_ahead {days=30}") > 15 * size
    assert "growth of tables" not in {one.name for one in done.gaps}


@pytest.mark.one_server
def test_a_lookup_that_lost_a_row_differs_by_all_there_is(published: Database, settings: Settings) -> None:
    with damaged(published, "DELETE FROM analytics.lookup WHERE ttc_seconds BETWEEN 600 AND 3000"):
        wrong = collect(settings, published, Kind.QUICK)
    assert value_of(wrong, "lookup_difference max {symbol=BTC}") == 100
