"""The watchdog on a real Dagster instance: the problems it finds, each delivered once."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from sample_strike_tables import strike_table, write_strike_table
from system import System
from waiting import wait_until
from watched import lasting, problem_keys

from pipelines.definitions import defs
from pipelines.live.probability_writer import probabilities_path
from pipelines.monitoring.conditions import RESTORE_CHECK
from pipelines.orchestration.sensors import a_run_failed, run_reaper
from pipelines.resources import DatabaseResource, default_resources
from pipelines.storage.postgres.locks import hold_run_lock, is_run_lock_held

JOB = "make_partitions"


@pytest.fixture
def fresh_file(in_system: System) -> None:
    """A current probability file; no live session runs in this module."""
    path = probabilities_path(in_system.settings.output_dir, "BTC")
    path.parent.mkdir(parents=True, exist_ok=True)
    assert in_system.invoke("live", "--once").returncode == 0


def test_a_failed_job_is_a_problem_until_it_succeeds(
    in_system: System, instance: dg.DagsterInstance, fresh_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = defs.resolve_job_def(JOB)
    assert job.execute_in_process(instance=instance).success
    assert not problem_keys(instance) & {f"failed {JOB}", "file BTC", "database"}
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    monkeypatch.delenv("STRIKECAST_DATABASE_URL")
    assert f"failed {JOB}" in problem_keys(instance)
    delivered = (in_system.home / "logs" / "alerts.jsonl").read_text().splitlines()
    assert problem_keys(instance) >= {f"failed {JOB}"}
    assert (in_system.home / "logs" / "alerts.jsonl").read_text().splitlines() == delivered, "once"
    shown = in_system.invoke("alerts")
    assert shown.returncode == 1
    assert "A job failed or is late" in " ".join(shown.stdout.split())
    assert job.execute_in_process(instance=instance).success
    assert f"failed {JOB}" not in problem_keys(instance)
    newest = json.loads((in_system.home / "logs" / "alerts.jsonl").read_text().splitlines()[-1])
    assert (newest["key"], newest["ended_at"] is not None) == (f"failed {JOB}", True)


def test_a_failed_run_triggers_a_check_at_once(in_system: System, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(defs.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)
    event = instance.report_run_failed(run, "for a test")
    with dg.build_run_status_sensor_context(
        sensor_name="a_run_failed",
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=run,
        resources=default_resources(),
    ) as context:
        a_run_failed(context.for_run_failure())
    assert f"failed {JOB}" in lasting()
    assert defs.resolve_job_def(JOB).execute_in_process(instance=instance).success


def test_a_strike_table_without_quotes_is_a_problem_until_it_has_some(
    in_system: System, instance: dg.DagsterInstance, fresh_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_MARKETS__SOURCE", "kalshi")
    monkeypatch.setenv("STRIKECAST_ALERTS__QUOTES_SECONDS", "1")
    key = "market quotes BTC KXBTCD"

    def has_alert(market_status: str) -> bool:
        payload = strike_table(95_100.0, datetime.now(UTC), market_status=market_status)
        write_strike_table(in_system.settings.output_dir, payload)
        return key in problem_keys(instance)

    assert not has_alert("unavailable: timed out")
    wait_until(lambda: has_alert("unavailable: timed out"), "the alert")
    assert lasting()[key] == "BTC KXBTCD: timed out"
    wait_until(lambda: not has_alert("open"), "its end")
    monkeypatch.delenv("STRIKECAST_MARKETS__SOURCE")
    assert not has_alert("unavailable: timed out"), "no table is configured"
    assert not has_alert("unavailable: timed out")


def test_a_lost_database_and_a_stale_file_are_problems(
    in_system: System, instance: dg.DagsterInstance, fresh_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The price in a file of `live --once` is a minute old: the warm-up of a replay ends there.
    monkeypatch.setenv("STRIKECAST_ALERTS__STALE_SECONDS", "200")
    assert "file BTC" not in problem_keys(instance), "nor suspected since an earlier test"
    path = probabilities_path(in_system.settings.output_dir, "BTC")
    payload = json.loads(path.read_text())
    payload["timestamp"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    path.write_text(json.dumps(payload))
    assert "file BTC" not in problem_keys(instance), "it may be over in a moment"
    assert "file BTC" in problem_keys(instance)
    assert re.search(
        r"it is 5 min old; no live session is running: session \d+ ended: refreshed once", lasting()["file BTC"]
    )
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert "database" in problem_keys(instance)
    monkeypatch.delenv("STRIKECAST_DATABASE_URL")
    assert in_system.invoke("live", "--once").returncode == 0
    assert not problem_keys(instance) & {"database", "file BTC"}


def test_a_replica_that_does_not_answer_is_a_problem_until_it_does(
    in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_READ_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert "replica" not in problem_keys(instance), "it may be over in a moment"
    assert "replica" in problem_keys(instance)
    assert "127.0.0.1:1/nothing" in lasting()["replica"]
    monkeypatch.delenv("STRIKECAST_READ_URL")
    assert "replica" not in problem_keys(instance)


def test_a_failed_drill_is_a_problem(in_system: System, instance: dg.DagsterInstance) -> None:
    def drill() -> None:
        defs.resolve_job_def("restore_drill").execute_in_process(instance=instance, raise_on_error=False)

    assert in_system.invoke("backup", "create").returncode == 0
    backups = in_system.settings.backups_dir
    away = backups.rename(backups.with_name("away"))
    drill()
    assert "restore drill" in problem_keys(instance)
    assert "there is no backup" in lasting()["restore drill"]
    away.rename(backups)
    killed = instance.create_run_for_job(defs.resolve_job_def("restore_drill"), status=dg.DagsterRunStatus.STARTED)
    planned = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        killed.job_name,
        event_specific_data=AssetCheckEvaluationPlanned(
            asset_key=RESTORE_CHECK.asset_key, check_name=RESTORE_CHECK.name
        ),
    )
    instance.report_dagster_event(planned, killed.run_id)
    assert "restore drill" in problem_keys(instance), "while one runs, the one before it counts"
    instance.report_run_failed(killed, "killed, for a test")
    assert "failed restore_drill" in problem_keys(instance)
    assert lasting()["restore drill"], "and a drill without a result is none"
    drill()
    assert not problem_keys(instance) & {"restore drill", "failed restore_drill"}


def test_a_run_without_process_is_failed_at_the_second_check_and_a_live_one_is_not(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def(JOB)
    dead, living = (instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED) for _ in range(2))
    with psycopg.connect(in_system.database.url_for(in_system.settings.dagster_database)) as connection:
        connection.execute(
            "UPDATE runs SET update_timestamp = update_timestamp - interval '5 minutes' WHERE status = 'STARTED'"
        )

    def status(run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    with hold_run_lock(in_system.database, living.run_id):
        cursor = None
        for expected in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE):
            with dg.build_sensor_context(instance=instance, cursor=cursor, resources=default_resources()) as context:
                run_reaper(context)
                cursor = context.cursor
            assert (status(dead), status(living)) == (expected, dg.DagsterRunStatus.STARTED)
    instance.report_run_canceled(living)
    assert job.execute_in_process(instance=instance).success


def test_every_run_holds_the_lock_of_its_process(in_system: System, instance: dg.DagsterInstance) -> None:
    seen = []

    @dg.op
    def look_around(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
        with database.database.connect("test", None) as connection:
            seen.append(is_run_lock_held(connection, context.run.run_id))

    @dg.job(resource_defs=default_resources())
    def lives() -> None:
        look_around()

    done = lives.execute_in_process(instance=instance)
    assert seen == [True]
    with in_system.database.connect("test", None) as connection:
        assert not is_run_lock_held(connection, done.run_id)


def test_without_anybody_looking_for_problems_an_empty_list_is_no_all_clear(in_system: System, tmp_path: Path) -> None:
    elsewhere = in_system.run("alerts", STRIKECAST_HOME=str(tmp_path / "nothing"))
    assert elsewhere.returncode == 2
    assert "problems have never been looked for in this home" in elsewhere.stderr
    assert elsewhere.stdout == ""
