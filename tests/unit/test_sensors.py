"""When the supervisor wants another live session."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.sensors import SILENT_SECONDS, SUCCESSOR_EARLY, wanted_because
from pipelines.storage.live import LockState

NOW = datetime(2026, 7, 1, 13, 30, tzinfo=UTC)
HEALTHY = LockState(
    holder_pid=4711, waiting=0, session=12, run_id="a", hands_over_at=NOW + timedelta(minutes=30),
    heartbeat_age_seconds=0.5,
)  # fmt: skip


def wanted(state: LockState, *, hot_standby: bool = False) -> str | None:
    return wanted_because(state, NOW, hot_standby=hot_standby)


def test_a_healthy_session_is_enough() -> None:
    assert wanted(HEALTHY) is None


def test_without_a_session_one_is_wanted() -> None:
    assert wanted(LockState(None, 0, None, None, None, None)) == "no live session is running"


def test_a_row_that_says_running_is_no_session() -> None:
    assert wanted(replace(HEALTHY, holder_pid=None)) == "no live session is running"


def test_a_successor_is_wanted_a_minute_before_the_hour() -> None:
    before = replace(HEALTHY, hands_over_at=NOW + SUCCESSOR_EARLY + timedelta(seconds=1))
    assert wanted(before) is None
    assert wanted(replace(HEALTHY, hands_over_at=NOW + SUCCESSOR_EARLY)) == "the market closes at 13:31 UTC"
    assert wanted(replace(HEALTHY, hands_over_at=NOW - timedelta(minutes=5))) == "the market closes at 13:25 UTC"


def test_a_session_that_is_silent_is_to_be_replaced() -> None:
    assert wanted(replace(HEALTHY, heartbeat_age_seconds=SILENT_SECONDS)) is None
    told = wanted(replace(HEALTHY, heartbeat_age_seconds=SILENT_SECONDS + 0.1))
    assert told == "the live session has been silent for more than 10 s"
    assert wanted(replace(HEALTHY, heartbeat_age_seconds=None)) == told


def test_a_hot_standby_is_wanted_always() -> None:
    assert wanted(HEALTHY, hot_standby=True) == "a hot standby is missing"


def test_one_that_waits_is_enough_for_every_case() -> None:
    for state in (
        replace(HEALTHY, hands_over_at=NOW),
        replace(HEALTHY, heartbeat_age_seconds=99.0),
        replace(HEALTHY, holder_pid=None),
        HEALTHY,
    ):
        assert wanted(replace(state, waiting=1), hot_standby=True) is None
