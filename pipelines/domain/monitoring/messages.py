"""Messages about alerts, and what an address that missed some of them is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.monitoring.alerts import Alert, AlertSeverity

#: An address that missed more messages than this, or an older one, is sent a summary.
MAX_SINGLE_MESSAGES = 5
MAX_MESSAGE_AGE = timedelta(hours=1)
MAX_SUMMARY_LINES = 20


@dataclass(frozen=True)
class Message:
    """An alert that started, worsened or ended at `at` (aware UTC); numbered from 1 in the order of their creation."""

    number: int
    at: datetime
    alert: Alert


@dataclass(frozen=True)
class Outgoing:
    """What is sent to an address; once it is accepted, the messages up to `number` are delivered."""

    number: int
    title: str
    text: str


def plan_delivery(missed: Sequence[Message], now: datetime) -> list[Outgoing]:
    """What to send to an address that missed these messages, oldest first; `now` is aware UTC.

    Each message by itself; but one summary of all of them if there are many, if one is old, or if a problem began and
    ended meanwhile.
    """
    alerts = [(one.alert.key, one.alert.began_at) for one in missed]
    is_superseded = len(set(alerts)) < len(alerts)
    is_late = any(now - one.at > MAX_MESSAGE_AGE for one in missed)
    if is_superseded or is_late or len(missed) > MAX_SINGLE_MESSAGES:
        return [_summary(missed)]
    return [Outgoing(one.number, one.alert.title, one.alert.text) for one in missed]


def _summary(missed: Sequence[Message]) -> Outgoing:
    """The last state of each alert, active ones first, in one message."""
    last = {(one.alert.key, one.alert.began_at): one.alert for one in missed}
    active = [one for one in last.values() if one.ended_at is None]
    ended = [one for one in last.values() if one.ended_at is not None]
    is_critical = any(one.severity is AlertSeverity.CRITICAL for one in active)
    severity = AlertSeverity.CRITICAL if is_critical else AlertSeverity.WARNING
    counts = f"{len(active)} problems, {len(ended)} resolved"
    title = f"strikecast: {severity}: {counts}" if active else f"strikecast: resolved: {counts}"
    lines = [f"{one.title.removeprefix('strikecast: ')}\n{one.text}" for one in (*active, *ended)]
    shown = lines[:MAX_SUMMARY_LINES]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more, in logs/alerts.jsonl")
    return Outgoing(missed[-1].number, title, "\n\n".join(["This address missed these messages:", *shown]))
