"""Retention and log rotation from the command line and through Dagster, and their effect on Dagster's tables."""

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from system import System

from pipelines.configuration.sections import SharedFileSettings
from pipelines.definitions import defs
from pipelines.domain.maintenance.retention import RetentionPolicy
from pipelines.maintenance.retention import run
from pipelines.storage.files.places import COMPUTE_LOGS

JOB = "make_partitions"


def runs_of(instance: dg.DagsterInstance, job: str) -> list[str]:
    return [one.run_id for one in instance.get_runs(dg.RunsFilter(job_name=job))]


def age(system: System, days: int) -> None:
    """Move the times of Dagster's runs and ticks into the past."""
    url = system.database.url_for(system.settings.dagster_database)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE runs SET end_time = end_time - %s * 86400.0", [days])
        connection.execute("UPDATE job_ticks SET timestamp = timestamp - %s * interval '1 day'", [days])


def counts(system: System) -> dict[str, int]:
    url = system.database.url_for(system.settings.dagster_database)
    with psycopg.connect(url) as connection:
        return {
            name: connection.execute(statement).fetchone()[0]  # type: ignore[index]
            for name, statement in {
                "events": "SELECT count(*) FROM event_logs",
                "orphans": "SELECT count(*) FROM event_logs WHERE run_id <> '' AND run_id NOT IN (SELECT run_id FROM runs)",
                "orphan_tags": "SELECT count(*) FROM run_tags WHERE run_id NOT IN (SELECT run_id FROM runs)",
                "orphan_checks": "SELECT count(*) FROM asset_check_executions WHERE run_id NOT IN (SELECT run_id FROM runs)",
            }.items()
        }


def test_expired_runs_are_deleted_with_their_events_and_logs_except_the_newest(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    for _ in range(4):
        assert defs.resolve_job_def(JOB).execute_in_process(instance=instance).success
    all_runs = runs_of(instance, JOB)
    built = runs_of(instance, "build")
    running = instance.create_run_for_job(defs.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)
    logs = in_system.settings.dagster_home / "storage" / all_runs[-1]
    logs.mkdir(parents=True, exist_ok=True)
    age(in_system, 30)
    before = counts(in_system)
    settings = in_system.settings.model_copy(update={"retention": RetentionPolicy(runs_per_job=2)})
    report = run(settings, in_system.database, datetime.now(UTC))
    assert set(runs_of(instance, JOB)) == {*all_runs[:2], running.run_id}
    assert runs_of(instance, "build")[0] == built[0], "the old build holds the published generation"
    after = counts(in_system)
    assert after["orphans"] == after["orphan_tags"] == after["orphan_checks"] == 0
    assert before["events"] - after["events"] == report.rows["event_logs"] > 0
    assert report.rows["runs"] >= 2
    assert not logs.exists()
    for asset in ("price_history", "lookup"):
        assert instance.get_latest_materialization_event(dg.AssetKey(asset)) is not None, asset
    assert instance.get_materialized_partitions(dg.AssetKey("lookup")) == {"BTC"}
    instance.report_run_failed(running)


def test_runs_stay_until_their_logs_in_the_shared_place_are_deleted(
    in_system: System, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert defs.resolve_job_def(JOB).execute_in_process(instance=instance).success
    oldest = runs_of(instance, JOB)[-1]
    logs = tmp_path / COMPUTE_LOGS / oldest
    logs.mkdir(parents=True)
    age(in_system, 30)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    def retained(url: str) -> tuple[str, ...]:
        changes = {"retention": RetentionPolicy(runs_per_job=2), "shared_files": SharedFileSettings(url=url)}
        return run(in_system.settings.model_copy(update=changes), in_system.database, datetime.now(UTC)).skipped

    [reason] = retained("s3://bucket")
    assert f"s3://bucket/{COMPUTE_LOGS}/" in reason
    assert oldest in runs_of(instance, JOB)
    assert retained(str(tmp_path)) == ()
    assert oldest not in runs_of(instance, JOB)
    assert not logs.exists()


def test_the_nightly_job_reports_deleted_rows(in_system: System, instance: dg.DagsterInstance) -> None:
    with psycopg.connect(in_system.database.url) as connection:
        today = datetime.now(UTC).date()
        for days in (0, 40):
            day = today - timedelta(days=days)
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('BTC', %s, 1, 'test')",
                [datetime(day.year, day.month, day.day, tzinfo=UTC)],
            )
    done = defs.resolve_job_def("retention").execute_in_process(instance=instance)
    assert done.success
    (output,) = [event for event in done.all_events if event.is_successful_output]
    metadata = output.step_output_data.metadata
    assert "price_log | 1" in str(metadata["removed"].value)
    assert "older than 30 days" in str(metadata["plan"].value)


def test_a_dry_run_shows_the_plan_and_changes_nothing(system: System) -> None:
    with psycopg.connect(system.database.url) as connection:
        connection.execute(
            "INSERT INTO live_data.session_snapshots (session_id, created_at, session_start_time, mode, config, loop_count, status, snapshot_type) "
            "VALUES ('ancient', now() - interval '90 days', now(), 'paper', '{}', 1, 'stopped', 'on_stop')"
        )
    for _ in range(2):
        planned = json.loads(system.invoke("retention", "--dry-run", "--json").stdout)
        assert [one["session_id"] for one in planned["sessions"]] == ["ancient"]
    shown = system.invoke("retention", "--dry-run").stdout
    assert "more than 30 days ago" in " ".join(shown.split())
    done = json.loads(system.invoke("retention", "--json").stdout)
    assert done["rows"]["session_snapshots"] == 1


@pytest.mark.parametrize(("scheduled", "taken"), [(-3, -3), (400, 0)])
def test_a_scheduled_run_plans_for_its_time_but_never_for_the_future(scheduled: int, taken: int) -> None:
    from types import SimpleNamespace
    from typing import Any, cast

    from pipelines.resources import planning_time

    now = datetime.now(UTC)
    tags = {"dagster/scheduled_execution_time": (now + timedelta(days=scheduled)).isoformat()}
    found = planning_time(cast("Any", SimpleNamespace(tags=tags)))
    assert abs(found - (now + timedelta(days=taken))) < timedelta(minutes=1)


def test_logs_are_rotated_and_compressed_by_the_next_run(system: System) -> None:
    logs = system.home / "logs"
    logs.mkdir(exist_ok=True)
    for earlier in logs.glob("daemon-*"):  # of an `up` that went on past midnight
        earlier.unlink()
    (logs / "daemon.log").write_text("a line\n" * 1000)
    before = json.loads(system.invoke("logs", "--dry-run", "--json").stdout)
    assert [one["action"] for one in before["steps"] if one["name"] == "daemon.log"] == ["rotate"]
    assert system.invoke("logs").returncode == 0
    (rotated,) = logs.glob("daemon-*.log")
    an_hour_ago = datetime.now(UTC).timestamp() - 3600
    os.utime(rotated, (an_hour_ago, an_hour_ago))
    done = json.loads(system.invoke("logs", "--json").stdout)
    assert done["after"]["daemon"] < done["before"]["daemon"] / 10
    with gzip.open(f"{rotated}.gz", "rt") as back:
        assert back.read() == "a line\n" * 1000
    events = [
        json.loads(line)["event"] for path in logs.glob("commands*.jsonl") for line in path.read_text().splitlines()
    ]
    assert any("rotate daemon.log" in event for event in events), "what commands do is logged, too"
    assert list((system.settings.embedded_dir / "log").glob("postgresql-*.log")), "the server's own log is never cut"
