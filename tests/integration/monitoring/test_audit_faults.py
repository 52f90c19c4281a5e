"""Audits without a server, rights, rows, backups or sessions, and killed audits."""

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from auditing import value_of
from waiting import wait_until

from pipelines.domain.monitoring.audit.findings import Kind
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit, single
from pipelines.domain.monitoring.audit.targets import State, judge
from pipelines.maintenance.backup import create_backup
from pipelines.monitoring.audit import operations, records
from pipelines.monitoring.audit.declarations import targets
from pipelines.monitoring.audit.run import Collector, collect, run
from pipelines.settings import Settings
from pipelines.storage.maintenance import retention
from pipelines.storage.maintenance.runs import delete_in_batches
from pipelines.storage.postgres.connection import Database, Role


def test_an_unreachable_server_is_a_gap_and_not_a_zero(tmp_path: Path, settings: Settings) -> None:
    unreachable = Database(f"postgresql://postgres@/x?host={quote(str(tmp_path))}&port=1")
    audit = collect(settings, unreachable, Kind.QUICK)
    assert "database" in {one.name for one in audit.gaps}
    assert not any(one.name.startswith(("table_", "database_", "query")) for one in audit.measurements)
    assert {one.state for one in audit.judgements if one.target.name == "query"} == {"not measured"}


def test_an_audit_gives_up_a_lock_and_is_stored_without_that_step(published: Database, settings: Settings) -> None:
    with published.connect("test", None) as connection:
        connection.execute("LOCK TABLE live_data.session IN ACCESS EXCLUSIVE MODE")
        audit = run(settings, published, Kind.QUICK)
    [why] = [one.why for one in audit.gaps if one.name == "builds, maintenance, sessions"]
    assert "lock" in why or "another process is at the same work" in why
    assert any(one.name == "query" for one in audit.measurements), "the other steps are measured"
    assert len({one.key for one in audit.measurements}) == len(audit.measurements)


def write_many_rows(url: str) -> None:
    with Database(url).connect("audit", Role.AUDITOR, autocommit=True) as connection:
        operations.measure_writes(connection, 100_000)


@pytest.mark.embedded_only
def test_a_killed_audit_stores_nothing_and_a_later_one_deletes_its_rows(
    published: Database, settings: Settings
) -> None:
    def count(table: str) -> int:
        with published.connect("test", None) as connection:
            row = connection.execute(f"SELECT count(*) FROM ops.{table}").fetchone()
            assert row is not None
            return int(row[0])

    audits = count("audit")
    child = multiprocessing.get_context("spawn").Process(target=write_many_rows, args=(published.url,), daemon=True)
    child.start()
    wait_until(lambda: count("audit_scratch") > 100, "rows to be written")
    child.kill()
    child.join()
    assert count("audit_scratch") > 100
    collect(settings, published, Kind.QUICK)
    assert count("audit_scratch") > 100, "another audit may be running"
    with published.connect("test", None) as connection:
        connection.execute("UPDATE ops.audit_scratch SET received_at = received_at - interval '2 hours'")
    collect(settings, published, Kind.QUICK)
    assert count("audit_scratch") == 0
    assert count("audit") == audits


def test_a_read_only_role_gets_an_audit_with_gaps(published: Database, settings: Settings) -> None:
    login = f"audit_test_{uuid4().hex}"  # a role belongs to the whole server, which others may test on, too
    with published.connect("test", None) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'secret' IN ROLE strikecast_reader")
    parts = {**published.parameters, "user": login, "password": "secret"}
    reader = (
        Database(psycopg.conninfo.make_conninfo(**parts))
        if "host" not in parts
        else Database(
            Database(published.url)
            .url_for(str(parts["dbname"]))
            .replace(f"//{published.parameters.get('user')}", f"//{login}:secret", 1)
        )
    )
    logged: list[str] = []
    try:
        audit = run(settings, reader, Kind.QUICK, logged.append)
    finally:
        with published.connect("test", None) as connection:
            connection.execute(f"DROP ROLE {login}")
    assert audit.audit_id is None
    assert any("the audit is not stored" in one for one in logged)
    gaps = {one.name: one.why for one in audit.gaps}
    assert "rights of the auditor" in gaps
    assert "permission denied" in gaps["operations that write"]
    assert "insufficient privilege" in gaps["connections"]
    assert "insufficient privilege" in gaps["processes of the server"]
    keys = {one.key for one in audit.measurements}
    assert not keys & {"connections", "longest_transaction"}, "hidden connections are not counted as none"
    assert not any(key.startswith("all_processes") for key in keys), "an incomplete sum is not a total"
    assert value_of(audit, "query p95 {query=lookup_rows, symbol=BTC}") > 0
    assert value_of(audit, "database_size") > 0


@pytest.mark.embedded_only
def test_an_old_and_a_missing_backup_miss_their_target(published: Database, settings: Settings) -> None:
    [target] = [one for one in targets() if one.name == "without_backup"]

    def state(hours: int) -> State:
        with published.connect("test", Role.AUDITOR) as connection:
            measured = records.measure_records(settings, connection, datetime.now(UTC) + timedelta(hours=hours))
        return judge([target], measured.items)[0].state

    assert (state(1), state(30)) == (State.MET, State.MISSED), "since the first build"
    with published.connect("test", None) as connection:
        connection.execute("UPDATE analytics.model_version SET created_at = created_at - interval '9 days'")
    assert state(1) is State.MISSED
    create_backup(published, settings.backups_dir)
    assert (state(1), state(30)) == (State.MET, State.MISSED), "since the backup"
    kept = {one.name: one.value for one in records.measure_backups_and_logs(settings, datetime.now(UTC)).items}
    assert 0 < kept["backup_of_database"] < 100


@pytest.mark.embedded_only
def test_missing_sessions_and_files_are_measured_after_the_first_session(
    published: Database, settings: Settings
) -> None:
    def look(now: datetime) -> dict[str, float]:
        with published.connect("test", Role.AUDITOR) as connection:
            measured = records.measure_files(settings, connection, now)
            measured.extend(records.measure_records(settings, connection, now))
        return {one.name: one.value for one in measured.items}

    now = datetime.now(UTC)
    assert not look(now).keys() & {"answer_age", "session_availability"}, "no session has run yet"
    with published.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.session (symbols, feed, hands_over_at, started_at, heartbeat_at, ended_at, status) "
            "VALUES ('{BTC}', 'none', %(at)s, %(at)s - interval '30 h', %(at)s - interval '29 h', %(at)s - interval '29 h', 'stopped')",
            {"at": now},
        )
        connection.commit()
        try:
            found = look(now)
        finally:
            connection.execute("DELETE FROM live_data.session")
    with published.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.session (symbols, feed, hands_over_at, started_at, heartbeat_at, status) "
            "VALUES ('{BTC}', 'none', %(at)s, %(at)s - interval '10 min', clock_timestamp(), 'running')",
            {"at": now},
        )
        connection.commit()
        try:
            with_a_session = look(now)
        finally:
            connection.execute("DELETE FROM live_data.session")
    assert with_a_session["answer_age"] == pytest.approx(600, abs=5), "the session runs and has written no file"
    assert with_a_session["session_availability"] == pytest.approx(100, abs=1)
    assert found["session_availability"] == 0
    assert found["answer_age"] == pytest.approx(29 * 3_600, abs=1)


def test_a_failed_step_is_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(lambda _: None, Database(""), lambda work: work())

    def broken() -> Measurements:
        raise KeyError("a row")

    collector.collect("lookup", broken)
    collector.collect("next", lambda: Measurements([single("x", Unit.COUNT, 1.0)]))
    assert [(gap.name, gap.why) for gap in collector.found.gaps] == [("lookup", "KeyError: 'a row'")]
    assert [one.value for one in collector.found.items] == [1.0]
    assert "Traceback" in caplog.text, "the log has the traceback"


@pytest.mark.embedded_only
def test_overlapping_sessions_are_not_counted_twice(published: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    with published.connect("test", None) as connection:
        for began, ended in ((30, 22), (23, 20), (22.5, 22), (2, 0)):
            connection.execute(
                "INSERT INTO live_data.session (symbols, feed, hands_over_at, started_at, heartbeat_at, ended_at, status) "
                "VALUES ('{BTC}', 'none', %(at)s, %(began)s, %(ended)s, %(ended)s, 'stopped')",
                {"at": now, "began": now - timedelta(hours=began), "ended": now - timedelta(hours=ended)},
            )
        measured = records.measure_records(settings, connection, now)
        connection.rollback()
    assert measured.values()["session_availability"] == pytest.approx(100 * (4 + 2) / 24)


@pytest.mark.embedded_only
def test_retention_deletes_old_audits_and_keeps_baselines(published: Database, settings: Settings) -> None:
    numbers = [run(settings, published, Kind.QUICK).audit_id for _ in range(4)]
    with published.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute("DELETE FROM ops.audit_baseline")
        connection.execute("DELETE FROM ops.audit WHERE audit_id < %s", [numbers[0]])
        connection.execute(
            "UPDATE ops.audit SET started_at = now() - interval '40 days' WHERE audit_id <> %s", [numbers[3]]
        )
        connection.execute("UPDATE ops.audit SET kind = 'full' WHERE audit_id = %s", [numbers[1]])
        connection.execute("INSERT INTO ops.audit_baseline VALUES ('kept', %s)", [numbers[2]])
        now = datetime.now(UTC)
        before = {"quick_before": now - timedelta(days=30), "full_before": now - timedelta(days=400)}
        gone = delete_in_batches(connection, retention.SQL["delete_audits"], before)
        left = [row[0] for row in connection.execute("SELECT audit_id FROM ops.audit ORDER BY 1")]
        assert connection.execute(
            "SELECT count(*) FROM ops.audit_figure WHERE audit_id = %s", [numbers[0]]
        ).fetchone() == (0,)
    assert gone == {"audit": 1}
    assert left == numbers[1:]
