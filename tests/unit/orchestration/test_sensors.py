"""When the live supervisor requests a run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.domain.models.freshness import HEARTBEAT_LIMIT_SECONDS
from pipelines.orchestration.jobs import LIVE_JOB
from pipelines.orchestration.run_reaper import _should_hold_its_lock
from pipelines.orchestration.sensors import SUCCESSOR_EARLY, _may_be_starting, wanted_because
from pipelines.storage.live.sessions import LockState

NOW = datetime(2026, 7, 1, 13, 30, tzinfo=UTC)
HEALTHY = LockState(
    holder_pid=4711,
    waiting=0,
    session=12,
    run_id="a",
    hands_over_at=NOW + timedelta(minutes=30),
    heartbeat_age_seconds=0.5,
)


def wanted(state: LockState, *, hot_standby: bool = False) -> str | None:
    return wanted_because(state, NOW, hot_standby=hot_standby)


def test_a_healthy_session_needs_no_run() -> None:
    assert wanted(HEALTHY) is None


def test_a_run_is_requested_without_a_session() -> None:
    assert wanted(LockState(None, 0, None, None, None, None)) == "no live session is running"


def test_a_row_in_state_running_without_the_lock_is_no_session() -> None:
    assert wanted(replace(HEALTHY, holder_pid=None)) == "no live session is running"


def test_a_successor_is_requested_a_minute_before_the_hour() -> None:
    before = replace(HEALTHY, hands_over_at=NOW + SUCCESSOR_EARLY + timedelta(seconds=1))
    assert wanted(before) is None
    assert wanted(replace(HEALTHY, hands_over_at=NOW + SUCCESSOR_EARLY)) == "live session 12 hands over at 13:31 UTC"
    assert (
        wanted(replace(HEALTHY, hands_over_at=NOW - timedelta(minutes=5))) == "live session 12 hands over at 13:25 UTC"
    )


def test_a_session_without_heartbeat_is_replaced() -> None:
    assert wanted(replace(HEALTHY, heartbeat_age_seconds=HEARTBEAT_LIMIT_SECONDS)) is None
    reason = wanted(replace(HEALTHY, heartbeat_age_seconds=HEARTBEAT_LIMIT_SECONDS + 0.1))
    assert reason == "the live session has been silent for more than 10 s"
    assert wanted(replace(HEALTHY, heartbeat_age_seconds=None)) == reason


def test_a_missing_hot_standby_is_requested() -> None:
    assert wanted(HEALTHY, hot_standby=True) == "a hot standby is missing"


def test_a_waiting_session_needs_no_further_run() -> None:
    for state in (
        replace(HEALTHY, hands_over_at=NOW),
        replace(HEALTHY, heartbeat_age_seconds=99.0),
        replace(HEALTHY, holder_pid=None),
        HEALTHY,
    ):
        assert wanted(replace(state, waiting=1), hot_standby=True) is None


def record(status: dg.DagsterRunStatus, changed_seconds_ago: float, *, started: bool = False) -> dg.RunRecord:
    """A run that was requested an hour ago."""
    changed = NOW - timedelta(seconds=changed_seconds_ago)
    run = dg.DagsterRun(job_name=LIVE_JOB)._replace(status=status)  # without the origin that a queued one has
    return dg.RunRecord(1, run, NOW - timedelta(hours=1), changed, changed.timestamp() if started else None)


def test_a_queued_run_is_never_dead() -> None:
    queued = record(dg.DagsterRunStatus.QUEUED, 3000)
    assert _may_be_starting(queued, NOW)
    assert not _should_hold_its_lock(queued, NOW)


def test_a_launched_run_has_a_minute_to_take_its_lock() -> None:
    assert _may_be_starting(record(dg.DagsterRunStatus.STARTING, 50), NOW)
    assert not _should_hold_its_lock(record(dg.DagsterRunStatus.STARTING, 50), NOW)
    assert not _may_be_starting(record(dg.DagsterRunStatus.STARTING, 70), NOW)
    assert _should_hold_its_lock(record(dg.DagsterRunStatus.STARTING, 70), NOW)


def test_a_started_run_has_seconds_to_take_its_lock() -> None:
    assert not _should_hold_its_lock(record(dg.DagsterRunStatus.STARTED, 8, started=True), NOW)
    assert _should_hold_its_lock(record(dg.DagsterRunStatus.STARTED, 12, started=True), NOW)
