"""An audit when something is missing: the server, rights, rows, backups, sessions, its own process."""

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from auditing import value_of
from waiting import wait_until

from pipelines.domain.monitoring.audit.measurements import Measured, Unit, one
from pipelines.domain.monitoring.audit.report import Kind
from pipelines.domain.monitoring.audit.targets import State, judge
from pipelines.maintenance.backup import create_backup
from pipelines.monitoring.audit import operations, work
from pipelines.monitoring.audit.run import Gathered, collect, run, targets
from pipelines.settings import Settings
from pipelines.storage.maintenance import retention
from pipelines.storage.maintenance.runs import delete_in_batches
from pipelines.storage.postgres.connection import Database, Role


def test_a_server_that_is_gone_is_a_gap_not_a_zero(tmp_path: Path, settings: Settings) -> None:
    nobody = Database(f"postgresql://postgres@/x?host={quote(str(tmp_path))}&port=1")
    done = collect(settings, nobody, Kind.QUICK)
    assert "database" in {one.name for one in done.gaps}
    assert not any(one.name.startswith(("table_", "database_", "query")) for one in done.figures)
    assert {one.state for one in done.judgements if one.target.name == "query"} == {"not measured"}


def test_an_audit_waits_for_no_lock_and_is_stored_without_what_is_held(published: Database, settings: Settings) -> None:
    with published.connect("test", None) as connection:
        connection.execute("LOCK TABLE live_data.session IN ACCESS EXCLUSIVE MODE")
        done = run(settings, published, Kind.QUICK).audit
    [why] = [one.why for one in done.gaps if one.name == "builds, maintenance, sessions"]
    assert "lock" in why or "another process is at the same work" in why
    assert any(one.name == "query" for one in done.figures), "the rest is measured"
    assert len({one.key for one in done.figures}) == len(done.figures)


def write_for_long(url: str) -> None:
    with Database(url).connect("audit", Role.AUDITOR, autocommit=True) as connection:
        operations.measure(connection, "BTC", 100_000)


@pytest.mark.one_server
def test_a_killed_audit_stores_nothing_and_the_next_clears_up(published: Database, settings: Settings) -> None:
    def count(table: str) -> int:
        with published.connect("test", None) as connection:
            row = connection.execute(f"SELECT count(*) FROM ops.{table}").fetchone()
            assert row is not None
            return int(row[0])

    audits = count("audit")
    child = multiprocessing.get_context("spawn").Process(target=write_for_long, args=(published.url,), daemon=True)
    child.start()
    wait_until(lambda: count("audit_scratch") > 100, "rows to be written")
    child.kill()
    child.join()
    assert count("audit_scratch") > 100
    collect(settings, published, Kind.QUICK)
    assert count("audit_scratch") > 100, "they may be those of another audit that runs"
    with published.connect("test", None) as connection:
        connection.execute("UPDATE ops.audit_scratch SET received_at = received_at - interval '2 hours'")
    collect(settings, published, Kind.QUICK)
    assert count("audit_scratch") == 0
    assert count("audit") == audits


def test_who_may_only_read_gets_an_audit_that_says_what_it_could_not_see(
    published: Database, settings: Settings
) -> None:
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
    told: list[str] = []
    try:
        done = run(settings, reader, Kind.QUICK, told.append).audit
    finally:
        with published.connect("test", None) as connection:
            connection.execute(f"DROP ROLE {login}")
    assert done.audit_id is None
    assert any("the audit is shown, and not stored" in one for one in told)
    gaps = {one.name: one.why for one in done.gaps}
    assert "rights of the auditor" in gaps
    assert "permission denied" in gaps["operations that write"]
    assert "insufficient privilege" in gaps["work of other connections"]
    assert "insufficient privilege" in gaps["processes of the server"]
    keys = {one.key for one in done.figures}
    assert not keys & {"connections", "longest_transaction"}, "whom it cannot see it does not count as nobody"
    assert not any(key.startswith("all_processes") for key in keys), "a part is no total"
    assert value_of(done, "query p95 {query=lookup_rows, symbol=BTC}") > 0
    assert value_of(done, "database_size") > 0


@pytest.mark.one_server
def test_a_stale_backup_is_found_and_so_is_none_at_all(published: Database, settings: Settings) -> None:
    [target] = [one for one in targets() if one.name == "without_backup"]

    def state(hours: int) -> State:
        with published.connect("test", Role.AUDITOR) as connection:
            measured = work.records(settings, connection, datetime.now(UTC) + timedelta(hours=hours))
        return judge([target], measured.figures)[0].state

    assert (state(1), state(30)) == (State.MET, State.MISSED), "since the first build"
    with published.connect("test", None) as connection:
        connection.execute("UPDATE analytics.model_version SET created_at = created_at - interval '9 days'")
    assert state(1) is State.MISSED
    create_backup(published, settings.backups_dir)
    assert (state(1), state(30)) == (State.MET, State.MISSED), "since the backup"
    kept = {one.name: one.value for one in work.kept(settings, datetime.now(UTC)).figures}
    assert 0 < kept["backup_of_database"] < 100


@pytest.mark.one_server
def test_where_sessions_have_run_their_absence_is_measured(published: Database, settings: Settings) -> None:
    def look(now: datetime) -> dict[str, float]:
        with published.connect("test", Role.AUDITOR) as connection:
            measured = work.files(settings, connection, now) + work.records(settings, connection, now)
        return {one.name: one.value for one in measured.figures}

    now = datetime.now(UTC)
    assert not look(now).keys() & {"file_age", "session_availability"}, "nobody promised any"
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
            beside_a_session = look(now)
        finally:
            connection.execute("DELETE FROM live_data.session")
    assert beside_a_session["file_age"] == pytest.approx(600, abs=5), "that lives, and writes no file"
    assert beside_a_session["session_availability"] == pytest.approx(100, abs=1)
    assert found["session_availability"] == 0
    assert found["file_age"] == pytest.approx(29 * 3_600, abs=1)


def test_a_step_that_fails_is_a_gap_and_two_figures_of_a_key_are_one(caplog: pytest.LogCaptureFixture) -> None:
    gathered = Gathered(lambda _: None)

    def broken() -> Measured:
        raise KeyError("a row")

    gathered.take("lookup", broken)
    gathered.take("first", lambda: Measured((one("x", Unit.COUNT, 1.0),)))
    gathered.take("second", lambda: Measured((one("x", Unit.COUNT, 2.0),)))
    found = gathered.unique()
    assert [(gap.name, gap.why) for gap in found.gaps] == [
        ("lookup", "KeyError: 'a row'"),
        ("x", "it was measured twice; the first counts"),
    ]
    assert [figure.value for figure in found.figures] == [1.0]
    assert "Traceback" in caplog.text, "who maintains it sees where"


@pytest.mark.one_server
def test_old_audits_go_and_those_with_a_name_stay(published: Database, settings: Settings) -> None:
    numbers = [run(settings, published, Kind.QUICK).audit.audit_id for _ in range(4)]
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
