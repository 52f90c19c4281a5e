"""Alerts of the paper desk."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.domain.monitoring.alerts import AlertLimits, Facts, RunbookHeading, diff_alerts, is_unknown, problems
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER, UNSAVED_AFTER, DeskFacts

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def found(**desk: Any) -> list[tuple[str, str, bool]]:
    facts = Facts(NOW, desk=DeskFacts(**({"campaign": "paper", "is_due": True, "saved_at": NOW - SECOND} | desk)))
    every = problems(facts, AlertLimits(), NOW)
    assert {one.heading for one in every} <= {RunbookHeading.DESK}
    return [(one.key, one.message, one.transient) for one in every]


def test_a_desk_that_trades_is_no_problem() -> None:
    assert found() == []
    assert problems(Facts(NOW), AlertLimits(), NOW) == []


@pytest.mark.parametrize(
    ("desk", "key", "message", "transient"),
    [
        (
            {"saved_at": NOW - UNSAVED_AFTER - SECOND},
            "desk paper save",
            "the paper desk is not saved (last: 3 min ago), so it does not trade",
            True,
        ),
        (
            {"saved_at": None},
            "desk paper save",
            "the paper desk is not saved (last: never), so it does not trade",
            True,
        ),
        (
            {"stopped": "the model is rebuilt"},
            "desk paper stopped",
            "the paper desk was stopped: the model is rebuilt",
            False,
        ),
        (
            {"breaches": {"daily loss": "510 USD were lost today, the limit is 500 USD"}},
            "desk paper limit daily loss",
            "the paper desk enters no trades past its limit: 510 USD were lost today, the limit is 500 USD",
            False,
        ),
        (
            {"stranded": ["A yes", "B no"]},
            "desk paper positions",
            "2 positions past the close without a result: A yes, B no",
            False,
        ),
        (
            {"failed_checks": {"desk_replays_equal": "event 7 differs"}},
            "desk paper check desk_replays_equal",
            "the check desk_replays_equal failed: event 7 differs",
            False,
        ),
    ],
    ids=["late", "never saved", "stopped", "limit", "stranded", "check"],
)
def test_each_problem_of_the_desk_has_its_alert(desk: Any, key: str, message: str, transient: bool) -> None:
    assert found(**desk) == [(key, message, transient)]


def test_a_desk_that_is_not_to_trade_is_not_missed_but_its_positions_are() -> None:
    assert found(is_due=False, saved_at=NOW - 10 * STRANDED_AFTER) == []
    assert [key for key, _, _ in found(is_due=False, stranded=["A yes"])] == ["desk paper positions"]


def test_a_new_campaign_may_take_a_moment_to_be_saved() -> None:
    every = problems(Facts(NOW, desk=DeskFacts("paper", is_due=True)), AlertLimits(), NOW)
    assert diff_alerts({}, {}, every, NOW) == ([], {})
    [alert], _ = diff_alerts({}, {"desk paper save": NOW - UNSAVED_AFTER}, every, NOW)
    assert alert.key == "desk paper save"


def test_a_database_that_cannot_be_read_does_not_end_the_desks_alerts() -> None:
    assert is_unknown("desk paper stopped", Facts(NOW, database_error="no server"))
