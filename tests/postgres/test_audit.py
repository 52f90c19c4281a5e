"""An audit on a real server: known loads are found, a healthy system has no grave finding, what is stored comes back."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from pipelines.audit import processes, queries
from pipelines.audit.render import html, markdown, plain
from pipelines.audit.run import collect, run
from pipelines.domain.audit.document import document_of
from pipelines.domain.audit.figures import Figure
from pipelines.domain.audit.report import Audit, Kind
from pipelines.errors import NoDataError
from pipelines.settings import Settings, load_settings
from pipelines.storage.audits import baseline, name_baseline, newest_audit, read_audit
from pipelines.storage.database import Database, Role

Build = Callable[..., int]


@pytest.fixture
def settings(database: Database) -> Settings:
    return load_settings()


@pytest.fixture
def published(database: Database, build: Build) -> Database:
    with database.connect("test", None) as connection:
        if connection.execute("SELECT FROM analytics.active_generation").fetchone() is None:
            build("BTC", seed=1)
    return database


def value_of(audit: Audit, key: str) -> float:
    [figure] = [one for one in audit.figures if one.key == key]
    return figure.value


def test_what_was_stored_comes_back_and_every_figure_follows_from_its_samples(
    published: Database, settings: Settings
) -> None:
    done = run(settings, published, Kind.QUICK)
    assert done.audit_id is not None
    with published.connect("test", Role.READER) as connection:
        assert newest_audit(connection) == done.audit_id
        again = read_audit(connection, done.audit_id)
        wrong = connection.execute(
            "SELECT count(*) FROM ops.audit_figure WHERE audit_id = %s AND statistic = 'last' "
            "AND value <> samples[cardinality(samples)]", [done.audit_id],
        ).fetchone()  # fmt: skip
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


def test_a_healthy_system_has_no_grave_finding(published: Database, settings: Settings) -> None:
    done = collect(settings, published, Kind.QUICK)
    grave = [one for one in done.findings if one.severity in {"P0", "P1"}]
    assert grave == []
    for key in ("query p95 {query=lookup_rows, symbol=BTC}", "database_size", "connections", "host_load {minutes=1}"):
        assert value_of(done, key) >= 0
    assert "Seq Scan" not in next(one.note for one in done.figures if one.labels.get("query") == "lookup_rows")
    assert {one.name for one in done.gaps} >= {"processes of strikecast", "backups", "file of BTC", "availability"}
    assert done.cpu_seconds > 0


@pytest.mark.one_server
def test_every_form_tells_the_same(published: Database, settings: Settings) -> None:
    done = collect(settings, published, Kind.QUICK)
    document = document_of(done)
    page, text, raw = html(document), markdown(document), orjson.loads(orjson.dumps(plain(done)))
    assert "<script" not in page
    assert "http" not in page.lower().replace("http-equiv", "")
    for section in document.sections:
        assert f"<h2>{section.title}</h2>" in page.replace("&#39;", "'")
        assert f"## {section.title}" in text
        for row in section.rows:
            for cell in row:
                assert cell.replace("|", "\\|") in text
    assert [one["key"] for one in raw["figures"]] == [one.key for one in done.figures]
    assert raw["scorecard"]["grade"] == done.scorecard.grade


@pytest.fixture
def badly_kept(database: Database) -> Iterator[str]:
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute("CREATE TABLE live_data.bad (a int, b int, c text) WITH (autovacuum_enabled = off)")
        connection.execute("INSERT INTO live_data.bad SELECT n, n % 10, 'x' FROM generate_series(1, 150000) AS n")
        connection.execute("CREATE INDEX bad_a ON live_data.bad (a)")
        connection.execute("CREATE INDEX bad_a_b ON live_data.bad (a, b)")
        connection.execute("DELETE FROM live_data.bad WHERE a % 3 = 0")
        connection.execute(
            "SET enable_indexscan = off; SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0"
        )
        for _ in range(3):
            connection.execute("SELECT count(*) FROM live_data.bad WHERE b = 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
        time.sleep(1.2)
        yield "live_data.bad"
        connection.execute("DROP TABLE live_data.bad")


def test_dead_rows_a_redundant_index_and_sequential_scans_are_found(
    database: Database, settings: Settings, badly_kept: str
) -> None:
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
        _, found = queries.measure(published, ["BTC"], 5)
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


def test_a_process_that_burns_half_a_core_is_reported_within_five_points() -> None:
    burning = multiprocessing.get_context("spawn").Process(target=burn, args=(0.5,), daemon=True)
    burning.start()
    try:
        process = psutil.Process(burning.pid)
        time.sleep(1.0)
        began = process.cpu_times()
        measured = processes.measure([processes.Named("burner", process)], 10.0)
        ended = process.cpu_times()
    finally:
        burning.kill()
    figures: dict[str, Figure] = {one.name: one for one in measured.figures}
    truth = 100 * (sum(ended[:2]) - sum(began[:2])) / 10.0
    assert figures["process_cpu"].value == pytest.approx(truth, abs=5)
    assert figures["process_uss"].value > 1e6
    assert figures["all_processes_cpu"].value == figures["process_cpu"].value


def test_a_server_that_is_gone_is_a_gap_not_a_zero(tmp_path: Path, settings: Settings) -> None:
    nobody = Database(f"postgresql://postgres@/x?host={tmp_path}&port=1")
    done = collect(settings, nobody, Kind.QUICK)
    assert "database" in {one.name for one in done.gaps}
    assert not any(one.name.startswith(("table_", "database_", "query")) for one in done.figures)
    assert {one.state for one in done.judgements if one.target.name == "query"} == {"not measured"}


def test_an_audit_waits_for_no_lock_and_is_stored_without_what_is_held(published: Database, settings: Settings) -> None:
    with published.connect("test", None) as connection:
        connection.execute("LOCK TABLE live_data.session IN ACCESS EXCLUSIVE MODE")
        done = run(settings, published, Kind.QUICK)
    [why] = [one.why for one in done.gaps if one.name == "builds, maintenance, sessions"]
    assert "lock" in why or "another process is at the same work" in why
    assert any(one.name == "query" for one in done.figures), "the rest is measured"
    assert len({one.key for one in done.figures}) == len(done.figures)
