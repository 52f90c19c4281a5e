"""Audits on a real server: known loads are measured, a healthy system has no severe finding, stored audits are read back."""

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

from pipelines.domain.monitoring.audit.document import audit_document
from pipelines.domain.monitoring.audit.findings import Kind, explain
from pipelines.errors import NoDataError
from pipelines.monitoring.audit import operations, processes
from pipelines.monitoring.audit.declarations import explanations
from pipelines.monitoring.audit.reports import html, json_document, markdown
from pipelines.monitoring.audit.run import collect, run
from pipelines.settings import Settings
from pipelines.storage.monitoring.audits import find_audit, name_baseline, read_audit
from pipelines.storage.postgres.connection import Database, Role


def test_a_stored_audit_is_read_back_and_values_follow_from_samples(published: Database, settings: Settings) -> None:
    audit = run(settings, published, Kind.QUICK)
    assert audit.audit_id is not None
    with published.connect("test", Role.READER) as connection:
        assert find_audit(connection) == audit.audit_id
        again = read_audit(connection, audit.audit_id)
        wrong = connection.execute(
            "SELECT count(*) FROM ops.audit_figure WHERE audit_id = %s AND statistic = 'last' "
            "AND value <> samples[cardinality(samples)]",
            [audit.audit_id],
        ).fetchone()
        with pytest.raises(NoDataError, match="there is no audit 9999"):
            read_audit(connection, 9999)
        with pytest.raises(NoDataError, match="no baseline 'before'"):
            find_audit(connection, "before")
    assert wrong == (0,)
    assert {one.key: one.value for one in again.measurements} == {one.key: one.value for one in audit.measurements}
    assert (again.findings, again.judgements) == (audit.findings, audit.judgements)
    assert set(again.gaps) == set(audit.gaps)
    assert again.scorecard == audit.scorecard
    with published.connect("test", Role.PIPELINE) as connection:
        name_baseline(connection, "before", audit.audit_id)
        assert find_audit(connection, "before") == audit.audit_id


#: Findings that a busy machine causes.
SPEED = {"target reading a ladder's rows, p95"}


def test_a_healthy_system_has_no_severe_finding(published: Database, settings: Settings) -> None:
    audit = collect(settings, published, Kind.QUICK)
    with published.connect("test", None) as connection:
        [autovacuum] = connection.execute("SHOW autovacuum").fetchone() or [None]
    # A server for tests may run without autovacuum.
    known = {"setting autovacuum"} if autovacuum == "off" else set()
    assert {one.key for one in audit.findings if one.severity in {"P0", "P1"}} - SPEED == known
    for key in ("query p95 {query=lookup_rows, symbol=BTC}", "database_size", "connections", "host_load {minutes=1}"):
        assert value_of(audit, key) >= 0
    assert "Seq Scan" not in next(one.note for one in audit.measurements if one.labels.get("query") == "lookup_rows")
    assert {one.name for one in audit.gaps} >= {"processes of strikecast", "backups", "file of BTC", "availability"}
    assert audit.cpu_seconds > 0


@pytest.mark.embedded_only
def test_every_format_shows_the_same_values(published: Database, settings: Settings) -> None:
    audit = collect(settings, published, Kind.QUICK)
    document = audit_document(audit)
    page, text = html(document), markdown(document)
    shown = re.findall(r"<td[^>]*>(.*?)</td>", page)
    cells = [cell for section in document.sections for row in section.rows for cell in row]
    assert [unescape(cell) for cell in shown] == cells
    assert all(cell.replace("|", "\\|") in text for cell in cells)
    assert "http" not in page.replace("http://www.w3.org/", ""), "there are no external resources"
    raw = orjson.loads(orjson.dumps(json_document(audit)))
    assert [one["key"] for one in raw["figures"]] == [one.key for one in audit.measurements]
    assert raw["scorecard"]["grade"] == audit.scorecard.grade


def statistic(database: Database, name: str) -> int:
    with database.connect("test", None) as connection:
        row = connection.execute(
            f"SELECT {name} FROM pg_stat_all_tables WHERE relid = 'live_data.bad'::regclass"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def neglected_table(database: Database) -> Iterator[str]:
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


def test_dead_rows_a_redundant_index_and_sequential_scans_are_detected(
    database: Database, settings: Settings, neglected_table: str
) -> None:
    before = run(settings, database, Kind.QUICK)
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
    assert f"sequential scans {neglected_table}" not in {one.key for one in before.findings}, (
        "one audit does not show a frequency"
    )
    audit = collect(settings, database, Kind.QUICK)
    keys = {one.key for one in audit.findings}
    assert {
        f"dead rows {neglected_table}",
        f"redundant index {neglected_table}_a",
        f"sequential scans {neglected_table}",
    } <= keys
    assert f"redundant index {neglected_table}_a_b" not in keys
    assert value_of(audit, f"table_dead_rows {{table={neglected_table}}}") == 50_000
    parts = [
        one.value
        for one in audit.measurements
        if one.labels.get("table") == neglected_table and one.name == "table_size"
    ]
    with database.connect("test", None) as connection:
        assert connection.execute("SELECT pg_total_relation_size(%s::regclass)", [neglected_table]).fetchone() == (
            sum(parts),
        )


def test_a_query_without_its_index_is_a_severe_finding(published: Database, settings: Settings) -> None:
    with published.connect("test", None) as connection:
        connection.execute("ALTER DATABASE {} SET enable_indexscan = off".format(published.parameters["dbname"]))
        connection.execute("ALTER DATABASE {} SET enable_bitmapscan = off".format(published.parameters["dbname"]))
    try:
        measured = operations.measure_queries(published, Role.AUDITOR, ["BTC"], 5, processes.Cost())
    finally:
        with published.connect("test", None) as connection:
            connection.execute("ALTER DATABASE {} RESET ALL".format(published.parameters["dbname"]))
    found = explain(measured.detections, explanations())
    assert any(one.severity == "P1" and "lookup" in one.title for one in found)


def burn(share: float) -> None:
    while True:
        until = time.perf_counter() + 0.02 * share
        while time.perf_counter() < until:
            pass
        time.sleep(0.02 * (1 - share))


@pytest.mark.embedded_only
def test_the_cpu_of_a_process_is_measured_within_five_points() -> None:
    burning = multiprocessing.get_context("spawn").Process(target=burn, args=(0.5,), daemon=True)
    burning.start()
    try:
        process = psutil.Process(burning.pid)
        since, began = time.monotonic(), process.cpu_times()
        measured = processes.measure(processes.ProcessInventory({process: "burner"}), 10.0)
        ended, seconds = process.cpu_times(), time.monotonic() - since
    finally:
        burning.kill()
    values = {one.name: one.value for one in measured.items}
    truth = 100 * (sum(ended[:2]) - sum(began[:2])) / seconds
    assert values["process_cpu"] == pytest.approx(truth, abs=5)
    assert values["process_uss"] > 1e6
    assert values["all_processes_cpu"] == values["process_cpu"]


@pytest.mark.embedded_only
def test_operations_are_timed_and_leave_nothing_behind(published: Database, settings: Settings) -> None:
    with published.connect("test", Role.PIPELINE) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history "
            "SELECT 'BTC', '2026-01-01Z'::timestamptz + n * interval '1 minute', 1, 1, 1, 1, 1 FROM generate_series(1, 50000) AS n"
        )
    audit = collect(settings, published, Kind.FULL)
    found = {
        one.labels["operation"]: one for one in audit.measurements if one.name == "operation" and one.statistic == "p50"
    }
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
    """The lookup as a statement leaves it, restored afterwards."""
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


@pytest.mark.embedded_only
def test_the_lookup_is_compared_with_the_interpolation(published: Database, settings: Settings) -> None:
    audit = collect(settings, published, Kind.QUICK)
    assert 0 < value_of(audit, "lookup_difference mean {symbol=BTC}") < 0.1
    with published.connect("test", None) as connection:
        connection.execute(SHIFTED)
        broken = collect(settings, published, Kind.QUICK)
        connection.rollback()
    assert value_of(broken, "lookup_difference max {symbol=BTC}") < 0.1, "it is not committed"
    with damaged(published, SHIFTED):
        wrong = collect(settings, published, Kind.QUICK)
    assert value_of(wrong, "lookup_difference max {symbol=BTC}") == pytest.approx(3.0, abs=0.1)
    assert "target lookup against interpolation" in {one.key for one in wrong.findings if one.severity == "P1"}


@pytest.mark.embedded_only
def test_growth_is_measured_once_there_is_an_audit_of_an_hour_ago(published: Database, settings: Settings) -> None:
    first = run(settings, published, Kind.QUICK)
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
    audit = collect(settings, published, Kind.QUICK)
    size = sum(
        one.value
        for one in audit.measurements
        if one.name == "table_size" and one.labels["table"] == "analytics.lookup"
    )
    assert value_of(audit, "table_growth {table=analytics.lookup}") == pytest.approx(size / 2, rel=0.01)
    assert value_of(audit, "tables_size_ahead {days=30}") > 15 * size
    assert "growth of tables" not in {one.name for one in audit.gaps}


@pytest.mark.embedded_only
def test_a_missing_lookup_row_is_the_full_difference(published: Database, settings: Settings) -> None:
    with damaged(published, "DELETE FROM analytics.lookup WHERE ttc_seconds BETWEEN 600 AND 3000"):
        wrong = collect(settings, published, Kind.QUICK)
    assert value_of(wrong, "lookup_difference max {symbol=BTC}") == 100
