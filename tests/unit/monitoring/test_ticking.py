"""When a schedule is overdue, and the gauges of ticks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from auditing import AT, tick_states
from prometheus_client.parser import text_string_to_metric_families

from pipelines.monitoring.ticking import Ticking, overdue_since, tick_problems, ticking
from pipelines.storage.monitoring.dagster_state import TickState
from pipelines.web.ticks import tick_metrics

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
DAILY = TickState("schedule", "daily", True, NOW, NOON - timedelta(days=1), "success", None, ["0 12 * * *"], None)
ON_SINCE = NOW - timedelta(days=3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, NOON),
        ({"ticked_at": None}, NOON),
        ({"ticked_at": NOON}, None),
        ({"is_on": False}, None),
        ({"due_since": NOON}, None),
        ({"due_since": NOON - timedelta(minutes=1)}, NOON),
        ({"crons": ["0 12 * * *", "15 12 * * *"]}, NOON + timedelta(minutes=15)),
        ({"crons": ["45 12 * * *"]}, NOON - timedelta(hours=23, minutes=15)),
        ({"crons": ["45 12 * * *"], "ticked_at": NOON - timedelta(hours=1)}, None),
        ({"crons": None}, None),
    ],
)
def test_a_schedule_is_overdue_from_its_newest_due_time_until_it_ticks(
    changes: dict[str, object], expected: datetime | None
) -> None:
    assert overdue_since(replace(DAILY, **{"due_since": ON_SINCE, **changes}), NOW) == expected  # type: ignore[arg-type]


def test_a_schedule_that_was_looked_at_and_did_not_tick_is_a_problem_after_ten_minutes() -> None:
    [late] = [one for one in ticking([replace(DAILY, due_since=ON_SINCE)], NOW) if one.name == "schedule daily"]
    assert late == Ticking("schedule daily", NOW, timedelta(minutes=90), NOON)
    [problem] = tick_problems([late], NOW - timedelta(minutes=11), NOW)
    assert problem.message.startswith("1 of 1 do not tick: schedule daily")
    assert tick_problems([late], NOW - timedelta(minutes=9), NOW) == [], "after a start, it has time to tick"


def test_the_gauges_tell_what_is_off_old_or_late() -> None:
    found = {
        (family.name.removeprefix("strikecast_tick_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(tick_metrics(tick_states(AT), AT).decode())
        for sample in family.samples
    }
    assert found[("age_seconds", "sensor", "watchdog")] == 60.0
    assert found[("age_limit_seconds", "sensor", "watchdog")] == 210.0
    assert found[("status", "sensor", "watchdog", "skipped")] == 1.0
    assert (found[("on", "sensor", "watchdog")], found[("on", "sensor", "off")]) == (1.0, 0.0)
    assert ("age_seconds", "sensor", "off") not in found, "it never ticked"
    assert 3_600 <= found[("late_seconds", "schedule", "late")] < 3_660
    assert found[("age_seconds", "daemon", "SENSOR")] == 60.0
    assert tick_metrics([], AT) == b""
