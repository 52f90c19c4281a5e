"""What an address that missed messages is sent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.domain.monitoring.alerts import Alert, AlertSeverity, RunbookHeading
from pipelines.domain.monitoring.messages import MAX_SUMMARY_LINES, Message, plan_delivery

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def begun(number: int, at: datetime = NOW, severity: AlertSeverity = AlertSeverity.WARNING) -> Message:
    return Message(number, at, Alert(f"p{number}", "bad", RunbookHeading.JOB, at, severity=severity))


def ended(message: Message, number: int) -> Message:
    return Message(number, NOW, replace(message.alert, ended_at=NOW))


def test_a_few_new_messages_are_sent_one_by_one_in_order() -> None:
    sent = plan_delivery([begun(1), begun(2)], NOW)
    assert [(one.number, one.title) for one in sent] == [(1, "strikecast: warning: p1"), (2, "strikecast: warning: p2")]
    assert plan_delivery([], NOW) == []


def test_many_messages_old_ones_and_superseded_ones_are_one_summary() -> None:
    old = begun(1, NOW - timedelta(minutes=61))
    for missed in ([begun(number) for number in range(1, 7)], [old], [begun(1), ended(begun(1), 2)]):
        [summary] = plan_delivery(missed, NOW)
        assert summary.number == missed[-1].number
        assert "missed these messages" in summary.text


def test_a_summary_has_the_last_state_of_each_alert_and_the_highest_severity_of_the_active_ones() -> None:
    over, critical = begun(1, severity=AlertSeverity.CRITICAL), begun(2, severity=AlertSeverity.CRITICAL)
    [summary] = plan_delivery([over, ended(over, 3), begun(4)], NOW)
    assert summary.title == "strikecast: warning: 1 problems, 1 resolved"
    assert summary.text.count("p1") == 1
    assert summary.text.index("p4") < summary.text.index("resolved (critical): p1")
    [summary] = plan_delivery([over, ended(over, 3), critical], NOW)
    assert summary.title == "strikecast: critical: 1 problems, 1 resolved"
    [summary] = plan_delivery([over, ended(over, 3)], NOW)
    assert summary.title == "strikecast: resolved: 0 problems, 1 resolved"


def test_a_summary_is_bounded() -> None:
    [summary] = plan_delivery([begun(number) for number in range(1, 101)], NOW)
    assert summary.text.endswith(f"... and {100 - MAX_SUMMARY_LINES} more, in logs/alerts.jsonl")
