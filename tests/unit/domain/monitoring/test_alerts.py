"""Alerts: problems from facts, their transitions, and their delivery."""

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.domain.monitoring.alerts import (
    GIBIBYTE,
    AlertLimits,
    DiskFacts,
    Facts,
    FileFacts,
    JobFacts,
    Problem,
    RunbookHeading,
    problems,
)
from pipelines.domain.monitoring.audit.targets import Breach, Severity
from pipelines.errors import SettingsError, StateError
from pipelines.monitoring.alert_delivery import SERVER_PROBLEM, alerts_lock, read_state, update_alerts
from pipelines.settings import Settings, load_settings

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MONTHS_AGO = NOW - timedelta(days=60)
DAY = timedelta(hours=26)
DISK_PROBLEM = Problem("disk the backups", "the disk of the backups has 1.0 GiB free, 3 %", RunbookHeading.STORAGE)


def keys(**facts: Any) -> list[str]:
    return [one.key for one in problems(Facts(**({"watching_since": MONTHS_AGO} | facts)), AlertLimits(), NOW)]


def job(name: str = "backup_database", hours: float | None = 10, failed: str | None = None) -> JobFacts:
    return JobFacts(name, None if hours is None else NOW - timedelta(hours=hours), DAY, failed)


def test_a_healthy_system_has_no_problems() -> None:
    disk = DiskFacts("the home folder", 50 * GIBIBYTE, 100 * GIBIBYTE)
    assert keys(jobs=[job()], files=[FileFacts("BTC", 0.5, ())], disks=[disk], days_ahead=3) == []


def test_failed_late_and_never_run_jobs_are_problems_with_a_runbook_heading() -> None:
    facts = Facts(MONTHS_AGO, jobs=[job(failed="abc"), job("retention", 27), job("rotate_logs", None)])
    found = problems(facts, AlertLimits(), NOW)
    assert [(one.key, one.heading) for one in found] == [
        ("failed backup_database", RunbookHeading.BACKUP),
        ("late retention", RunbookHeading.JOB),
        ("late rotate_logs", RunbookHeading.JOB),
    ]
    assert found[0].message == "job backup_database failed, run abc"
    assert "last success 2026-03-30 09:00 UTC, expected every 26 h" in found[1].message


def test_a_repeatedly_missed_target_is_a_problem_unless_its_severity_is_p3() -> None:
    breaches = [Breach("tick to file", Severity.P1, "missed"), Breach("load", Severity.P3, "missed")]
    found = problems(Facts(MONTHS_AGO, breaches=breaches), AlertLimits(), NOW)
    assert [(one.key, one.heading) for one in found] == [("target tick to file", RunbookHeading.TARGET)]


def test_no_job_is_late_on_a_new_system() -> None:
    assert keys(watching_since=NOW - timedelta(hours=25), jobs=[job(hours=None)]) == []
    assert keys(watching_since=NOW - timedelta(hours=27), jobs=[job(hours=None)]) == ["late backup_database"]


def test_files_disks_partitions_drills_and_the_database_are_checked() -> None:
    assert keys(
        files=[FileFacts("BTC", 59, ()), FileFacts("ETH", 61, ("it stalled",)), FileFacts("SOL", None, ())]
    ) == [
        "file ETH",
        "file SOL",
    ]
    low = [DiskFacts("a", 9 * GIBIBYTE, 100 * GIBIBYTE), DiskFacts("b", GIBIBYTE, 4 * GIBIBYTE)]
    assert keys(disks=low) == ["disk a", "disk b"]
    assert keys(days_ahead=2, drill_problem="it is damaged", database_error="gone") == [
        "database",
        "restore drill",
        "days ahead",
    ]


@pytest.fixture
def logged() -> list[str]:
    return []


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.home / "logs" / "alerts.jsonl").read_text().splitlines()]


def test_an_alert_is_delivered_once_when_it_starts_and_once_when_it_ends(logged: list[str]) -> None:
    settings = load_settings()
    for minutes in range(5):
        active = update_alerts(settings, [DISK_PROBLEM], NOW + timedelta(minutes=minutes), logged.append)
        assert [(one.key, one.began_at) for one in active] == [(DISK_PROBLEM.key, NOW)]
    worse = Problem(DISK_PROBLEM.key, "0.5 GiB free", DISK_PROBLEM.heading)
    update_alerts(settings, [worse], NOW + timedelta(minutes=5), logged.append)
    assert update_alerts(settings, [], NOW + timedelta(minutes=6), logged.append) == []
    update_alerts(settings, [], NOW + timedelta(minutes=7), logged.append)
    assert [line.split(":")[1].strip() for line in logged] == ["problem", "resolved"]
    assert 'See docs/runbook.md, "Storage is growing".' in logged[0]
    assert [one["ended_at"] is None for one in lines(settings)] == [True, False]
    assert {one["runbook"] for one in lines(settings)} == {"docs/runbook.md: Storage is growing"}


def test_a_recurring_problem_starts_a_new_alert(logged: list[str]) -> None:
    settings = load_settings()
    for found in ([DISK_PROBLEM], [], [DISK_PROBLEM]):
        update_alerts(settings, found, NOW, logged.append)
    assert len(logged) == 3


def test_a_damaged_state_file_is_an_error_with_a_remedy(logged: list[str]) -> None:
    settings = load_settings()
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    (settings.home / "alerts.json").write_text("{")
    with pytest.raises(StateError, match=r"alerts.json cannot be read: delete it"):
        read_state(settings, NOW)


class Receiver(BaseHTTPRequestHandler):
    status = 200
    received: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Receiver]]:
    class OwnReceiver(Receiver):
        received: list[dict[str, Any]] = []  # noqa: RUF012

    with HTTPServer(("127.0.0.1", 0), OwnReceiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STRIKECAST_ALERTS", json.dumps({"urls": [f"json://127.0.0.1:{server.server_port}/hook"]}))
        yield OwnReceiver
        server.shutdown()


def test_a_webhook_receives_one_message_per_transition(webhook: type[Receiver], logged: list[str]) -> None:
    settings = load_settings()
    for found in ([DISK_PROBLEM], [DISK_PROBLEM], []):
        update_alerts(settings, found, NOW, logged.append)
    assert [one["title"] for one in webhook.received] == [
        "strikecast: problem: disk the backups",
        "strikecast: resolved: disk the backups",
    ]
    assert "1.0 GiB free" in webhook.received[0]["message"]


def test_a_message_that_a_webhook_refused_is_delivered_later(webhook: type[Receiver], logged: list[str]) -> None:
    settings = load_settings()
    webhook.status = 500
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert any("will be retried" in line for line in logged)
    assert len(read_state(settings, NOW).undelivered) == 1
    webhook.status = 200
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert read_state(settings, NOW).undelivered == ()
    assert len(webhook.received) == 2, "refused once, accepted once"


def test_an_unreachable_url_repeats_no_message_to_the_others(
    webhook: type[Receiver], logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (url,) = json.loads(os.environ["STRIKECAST_ALERTS"])["urls"]
    monkeypatch.setenv("STRIKECAST_ALERTS", json.dumps({"urls": ["json://127.0.0.1:1/unreachable", url]}))
    settings = load_settings()
    for _ in range(3):
        update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert len(webhook.received) == 1
    assert [one.addresses for one in read_state(settings, NOW).undelivered] == [(0,)]


def test_alerts_are_delivered_when_the_disk_is_full(webhook: type[Receiver], logged: list[str]) -> None:
    settings = load_settings()
    update_alerts(settings, [], NOW, logged.append)
    (settings.home / "logs").write_text("no folder")
    state = settings.home / "alerts.json"
    state.unlink()
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert len(webhook.received) == 1
    assert any("cannot be written" in line for line in logged)


def test_a_transient_problem_starts_an_alert_at_the_second_evaluation(logged: list[str]) -> None:
    settings = load_settings()
    transient = Problem("file BTC", "it is 70 s old", RunbookHeading.SESSION, transient=True)
    for found, messages in (([transient], 0), ([], 0), ([transient], 0), ([transient], 1), ([transient], 1), ([], 2)):
        update_alerts(settings, found, NOW, logged.append)
        assert len(logged) == messages


def test_the_servers_problem_is_evaluated_separately(logged: list[str]) -> None:
    settings = load_settings()
    unreachable = Problem(SERVER_PROBLEM, "no server answers", RunbookHeading.SERVER)
    update_alerts(settings, [unreachable], NOW, logged.append, server=True)
    update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert set(read_state(settings, NOW).active) == {SERVER_PROBLEM, DISK_PROBLEM.key}
    update_alerts(settings, [], NOW, logged.append, server=True)
    assert set(read_state(settings, NOW).active) == {DISK_PROBLEM.key}


def test_evaluation_and_delivery_are_serialized(logged: list[str]) -> None:
    settings, evaluating = load_settings(), threading.Event()

    def evaluate_and_deliver() -> None:
        with alerts_lock(settings):
            evaluating.set()
            later_evaluation.join(0.3)  # blocks while this evaluation holds the lock
            update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)

    def end_the_alert() -> None:
        evaluating.wait()
        with alerts_lock(settings):
            update_alerts(settings, [], NOW, logged.append)

    later_evaluation = threading.Thread(target=end_the_alert)
    later_evaluation.start()
    evaluate_and_deliver()
    later_evaluation.join()
    assert read_state(settings, NOW).active == {}
    assert [line.split(":")[1].strip() for line in logged] == ["problem", "resolved"]


def test_an_invalid_url_is_a_settings_error_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("STRIKECAST_ALERTS", '{"urls": ["nonsense://user:hush-hush@x"]}')
    settings = load_settings()
    assert "hush-hush" not in repr(settings)
    with pytest.raises(SettingsError, match=r"alerts.urls: URL 1 is invalid") as raised:
        update_alerts(settings, [DISK_PROBLEM], NOW, logged.append)
    assert "hush-hush" not in str(raised.value)
    assert len(lines(settings)) == 1, "it is in the log nevertheless"


def test_every_heading_exists_in_the_runbook() -> None:
    runbook = (Path(__file__).parents[4] / "docs" / "runbook.md").read_text()
    for heading in RunbookHeading:
        assert f"\n## {heading}\n" in runbook, heading
