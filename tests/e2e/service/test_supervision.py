"""The whole system while its processes are killed or paused."""

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import orjson
import psutil
import pytest
from processes import has_ended, postmaster
from system import System
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.orchestration.jobs import LIVE_JOB
from pipelines.orchestration.run_reaper import IN_PROGRESS
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.postgres.connection import Role

#: The duration of a test, and the minute before the hour in which a successor waits.
HAND_OVER_MARGIN = timedelta(seconds=150)


@pytest.fixture(scope="module")
def up(system: System) -> Iterator[System]:
    """A running system with a live session."""
    log = system.home / "supervision.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"],
            env=system.variables,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "Dagster UI: http://" in log.read_text() or process.poll() is not None, "the UI")
        assert process.poll() is None, log.read_text()
        wait_until(lambda: fresh(system), "a first session")
        yield system
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0


def payload(system: System) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(probabilities_path(system.settings.output_dir, "BTC").read_bytes())
    return found


def fresh(system: System, after: int = -1) -> bool:
    """Whether the file is fresh and was written by a session later than `after`."""
    path = probabilities_path(system.settings.output_dir, "BTC")
    return path.exists() and payload(system)["status"] == "ok" and (payload(system)["session"] or 0) > after


def writer(system: System) -> tuple[int, psutil.Process]:
    """The number of the leading session, and its process."""
    fence = orjson.loads((system.settings.output_dir / FENCE).read_bytes())
    return fence["session"], psutil.Process(fence["pid"])


@pytest.fixture(autouse=True)
def _no_hand_over_during_a_test(up: System) -> None:
    """Wait until no regular hand-over is near: a successor waits from a minute before the hour."""

    def is_far() -> bool:
        with up.database.connect("test", Role.READER) as connection:
            state = read_lock_state(connection)
        left = state.hands_over_at and state.hands_over_at - datetime.now(UTC)
        return fresh(up) and state.waiting == 0 and left is not None and left > HAND_OVER_MARGIN

    wait_until(is_far, "a session that goes on for a while", TIMEOUT_SECONDS + 2 * HAND_OVER_MARGIN.total_seconds())


def session_row(system: System, number: int) -> tuple[str, str | None, str | None]:
    with system.database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT status, ended_because, dagster_run_id FROM live_data.session WHERE session_id = %s", [number]
        ).fetchone()
    assert row is not None
    return row


def run_status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_killed_session_is_replaced_and_its_run_marked_as_failed(up: System, instance: dg.DagsterInstance) -> None:
    def started() -> float:
        record = instance.get_run_record_by_id(session_row(up, writer(up)[0])[2] or "")
        assert record is not None
        return record.start_time or time.time()

    wait_until(lambda: time.time() - started() > 12, "a run that is not just starting")
    number, process = writer(up)
    run_id = session_row(up, number)[2]
    assert run_id is not None
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: fresh(up, number), "the successor's file")
    assert session_row(up, number)[0] == "crashed"
    wait_until(lambda: run_status(instance, run_id) is dg.DagsterRunStatus.FAILURE, "the dead run's end")


def test_a_paused_session_is_replaced(up: System) -> None:
    number, paused = writer(up)
    paused.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: fresh(up, number), "the successor's file")
        assert session_row(up, number)[0] == "crashed"
    finally:
        paused.send_signal(signal.SIGCONT)
    wait_until(lambda: has_ended(paused), "the end of the paused session")
    assert fresh(up, number)


def test_a_killed_server_and_its_session_are_restarted(up: System) -> None:
    number = payload(up)["session"]
    postmaster(up.settings.embedded_dir / "data").kill()
    wait_until(lambda: fresh(up, number), "a session after the server's crash")


def test_a_cancelled_run_stops_with_a_final_snapshot(up: System, instance: dg.DagsterInstance) -> None:
    number = payload(up)["session"]
    run_id = session_row(up, number)[2]
    assert run_id is not None
    cancelled = cancel(up, run_id)
    assert '"runId"' in cancelled, cancelled
    wait_until(lambda: run_status(instance, run_id) is dg.DagsterRunStatus.CANCELED, "the run's end")
    status, because, _ = session_row(up, number)
    assert (status, because) == ("stopped", "stopped by SIGINT")
    with up.database.connect("test", Role.READER) as connection:
        last = connection.execute(
            "SELECT snapshot_type, status FROM live_data.v_latest_snapshots WHERE session_id = %s", [f"live-{number}"]
        ).fetchone()
    assert last == ("on_stop", "stopped")
    observed = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records
    metadata = observation(observed[-1])
    assert {"ticks", "cycles", "overruns", "seconds_stale", "latency", "latency_p99_ms", "cache_hit_rate_pct"} <= set(
        metadata
    )
    assert metadata["cycles"].value > 0
    wait_until(lambda: fresh(up, number), "the next session")


def observation(record: Any) -> Any:
    return record.event_log_entry.dagster_event.event_specific_data.asset_observation.metadata


def cancel(system: System, run_id: str) -> str:
    """Cancel a run as the UI does."""
    url = re.search(r"http://\S+", (system.home / "supervision.log").read_text())
    assert url is not None
    body = orjson.dumps(
        {
            "query": "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunSuccess { run { runId } } } }",
            "variables": {"id": run_id},
        }
    )
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url[0]}/graphql", data=body, headers=headers)  # noqa: S310 (our own address)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return str(answer.read().decode())


def test_a_hot_standby_takes_over(up: System) -> None:
    number, first = writer(up)
    second = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "live", "--wait"],
        env=up.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: waiting(up) == 1, "the standby")
        first.send_signal(signal.SIGKILL)
        wait_until(lambda: fresh(up, number), "its file")
        assert writer(up)[1].pid == second.pid
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(TIMEOUT_SECONDS)
    wait_until(lambda: fresh(up, number + 1), "a session of the sensor's again")


def waiting(system: System) -> int:
    with system.database.connect("test", Role.READER) as connection:
        return read_lock_state(connection).waiting


def test_only_live_runs_are_in_progress(up: System, instance: dg.DagsterInstance) -> None:
    def alive() -> int:
        return len(instance.get_runs(dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS)))

    wait_until(lambda: alive() <= 2, "the end of dead runs")
