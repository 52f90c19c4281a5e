"""Alerts: what is wrong, which of it is news, and who is told."""

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
    Heading,
    JobFacts,
    Problem,
    problems,
)
from pipelines.domain.monitoring.audit.targets import Breach, Severity
from pipelines.errors import SettingsError, StateError
from pipelines.monitoring.alert_delivery import SERVER, maintenance_lock, read_state, tell
from pipelines.settings import Settings, load_settings

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=60)
DAY = timedelta(hours=26)
TROUBLE = Problem("disk the backups", "the disk of the backups has 1.0 GiB free, 3 %", Heading.STORAGE)


def keys(**facts: Any) -> list[str]:
    return [one.key for one in problems(Facts(**({"watching_since": LONG_AGO} | facts)), AlertLimits(), NOW)]


def job(name: str = "backup_database", hours: float | None = 10, failed: str | None = None) -> JobFacts:
    return JobFacts(name, None if hours is None else NOW - timedelta(hours=hours), DAY, failed)


def test_when_all_is_well_nothing_is_said() -> None:
    disk = DiskFacts("the home folder", 50 * GIBIBYTE, 100 * GIBIBYTE)
    assert keys(jobs=[job()], files=[FileFacts("BTC", 0.5, ())], disks=[disk], days_ahead=3) == []


def test_a_failed_a_late_and_a_never_run_job_are_problems_with_their_page() -> None:
    facts = Facts(LONG_AGO, jobs=[job(failed="abc"), job("remove_what_is_old", 27), job("compress_logs", None)])
    found = problems(facts, AlertLimits(), NOW)
    assert [(one.key, one.heading) for one in found] == [
        ("failed backup_database", Heading.BACKUP),
        ("late remove_what_is_old", Heading.JOB),
        ("late compress_logs", Heading.JOB),
    ]
    assert found[0].message == "job backup_database failed, run abc"
    assert "last done 2026-03-30 09:00 UTC, wanted every 26 h" in found[1].message


def test_a_target_that_audits_go_on_missing_is_a_problem_unless_it_can_wait() -> None:
    breaches = [Breach("tick to file", Severity.P1, "missed"), Breach("load", Severity.P3, "missed")]
    found = problems(Facts(LONG_AGO, breaches=breaches), AlertLimits(), NOW)
    assert [(one.key, one.heading) for one in found] == [("target tick to file", Heading.TARGET)]


def test_nothing_is_late_on_a_system_that_is_new() -> None:
    assert keys(watching_since=NOW - timedelta(hours=25), jobs=[job(hours=None)]) == []
    assert keys(watching_since=NOW - timedelta(hours=27), jobs=[job(hours=None)]) == ["late backup_database"]


def test_files_disks_days_drills_and_the_database_are_watched() -> None:
    assert keys(files=[FileFacts("BTC", 59, ()), FileFacts("ETH", 61, ("it hangs",)), FileFacts("SOL", None, ())]) == [
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
def said() -> list[str]:
    return []


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.home / "logs" / "alerts.jsonl").read_text().splitlines()]


def test_what_lasts_is_told_once_and_its_end_once(said: list[str]) -> None:
    settings = load_settings()
    for minutes in range(5):
        lasting = tell(settings, [TROUBLE], NOW + timedelta(minutes=minutes), said.append)
        assert [(one.key, one.began_at) for one in lasting] == [(TROUBLE.key, NOW)]
    worse = Problem(TROUBLE.key, "0.5 GiB free", TROUBLE.heading)
    tell(settings, [worse], NOW + timedelta(minutes=5), said.append)
    assert tell(settings, [], NOW + timedelta(minutes=6), said.append) == []
    tell(settings, [], NOW + timedelta(minutes=7), said.append)
    assert [line.split(":")[1].strip() for line in said] == ["problem", "over"]
    assert 'See docs/runbook.md, "Storage is growing".' in said[0]
    assert [one["ended_at"] is None for one in lines(settings)] == [True, False]
    assert {one["runbook"] for one in lines(settings)} == {"docs/runbook.md: Storage is growing"}


def test_trouble_that_comes_again_is_news_again(said: list[str]) -> None:
    settings = load_settings()
    for found in ([TROUBLE], [], [TROUBLE]):
        tell(settings, found, NOW, said.append)
    assert len(said) == 3


def test_a_damaged_state_is_an_error_that_says_what_to_do(said: list[str]) -> None:
    settings = load_settings()
    tell(settings, [TROUBLE], NOW, said.append)
    (settings.home / "alerts.json").write_text("{")
    with pytest.raises(StateError, match=r"alerts.json cannot be read .*: delete it"):
        read_state(settings, NOW)


class Receiver(BaseHTTPRequestHandler):
    status = 200
    taken: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Receiver]]:
    class Mine(Receiver):
        taken: list[dict[str, Any]] = []  # noqa: RUF012

    with HTTPServer(("127.0.0.1", 0), Mine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STRIKECAST_ALERTS", json.dumps({"urls": [f"json://127.0.0.1:{server.server_port}/hook"]}))
        yield Mine
        server.shutdown()


def test_a_webhook_is_told_once_per_transition(webhook: type[Receiver], said: list[str]) -> None:
    settings = load_settings()
    for found in ([TROUBLE], [TROUBLE], []):
        tell(settings, found, NOW, said.append)
    assert [one["title"] for one in webhook.taken] == [
        "strikecast: problem: disk the backups",
        "strikecast: over: disk the backups",
    ]
    assert "1.0 GiB free" in webhook.taken[0]["message"]


def test_what_a_webhook_refused_is_told_when_it_takes_it(webhook: type[Receiver], said: list[str]) -> None:
    settings = load_settings()
    webhook.status = 500
    tell(settings, [TROUBLE], NOW, said.append)
    assert any("is tried again" in line for line in said)
    assert len(read_state(settings, NOW).waiting) == 1
    webhook.status = 200
    tell(settings, [TROUBLE], NOW, said.append)
    tell(settings, [TROUBLE], NOW, said.append)
    assert read_state(settings, NOW).waiting == ()
    assert len(webhook.taken) == 2, "once refused, once taken"


def test_one_address_that_takes_nothing_makes_the_others_hear_nothing_twice(
    webhook: type[Receiver], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (url,) = json.loads(os.environ["STRIKECAST_ALERTS"])["urls"]
    monkeypatch.setenv("STRIKECAST_ALERTS", json.dumps({"urls": ["json://127.0.0.1:1/nobody", url]}))
    settings = load_settings()
    for _ in range(3):
        tell(settings, [TROUBLE], NOW, said.append)
    assert len(webhook.taken) == 1
    assert [one.addresses for one in read_state(settings, NOW).waiting] == [(0,)]


def test_a_disk_that_is_full_is_told_all_the_same(webhook: type[Receiver], said: list[str]) -> None:
    settings = load_settings()
    tell(settings, [], NOW, said.append)
    (settings.home / "logs").write_text("no folder")
    state = settings.home / "alerts.json"
    state.unlink()
    tell(settings, [TROUBLE], NOW, said.append)
    assert len(webhook.taken) == 1
    assert any("cannot be written" in line for line in said)


def test_what_may_be_over_in_a_moment_is_told_at_the_second_look(said: list[str]) -> None:
    settings = load_settings()
    passing = Problem("file BTC", "it is 70 s old", Heading.SESSION, passing=True)
    for found, news in (([passing], 0), ([], 0), ([passing], 0), ([passing], 1), ([passing], 1), ([], 2)):
        tell(settings, found, NOW, said.append)
        assert len(said) == news


def test_the_server_is_looked_after_by_another(said: list[str]) -> None:
    settings = load_settings()
    gone = Problem(SERVER, "no server answers", Heading.SERVER)
    tell(settings, [gone], NOW, said.append, server=True)
    tell(settings, [TROUBLE], NOW, said.append)
    assert set(read_state(settings, NOW).lasting) == {SERVER, TROUBLE.key}
    tell(settings, [], NOW, said.append, server=True)
    assert set(read_state(settings, NOW).lasting) == {TROUBLE.key}


def test_what_was_seen_first_is_told_first(said: list[str]) -> None:
    settings, looking = load_settings(), threading.Event()

    def look_and_tell() -> None:
        with maintenance_lock(settings):
            looking.set()
            looked_later.join(0.3)  # who sees its end meanwhile must wait
            tell(settings, [TROUBLE], NOW, said.append)

    def see_the_end() -> None:
        looking.wait()
        with maintenance_lock(settings):
            tell(settings, [], NOW, said.append)

    looked_later = threading.Thread(target=see_the_end)
    looked_later.start()
    look_and_tell()
    looked_later.join()
    assert read_state(settings, NOW).lasting == {}
    assert [line.split(":")[1].strip() for line in said] == ["problem", "over"]


def test_an_address_that_is_none_is_a_settings_error_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("STRIKECAST_ALERTS", '{"urls": ["nonsense://user:hush-hush@x"]}')
    settings = load_settings()
    assert "hush-hush" not in repr(settings)
    with pytest.raises(SettingsError, match=r"alerts.urls: address 1 is none") as raised:
        tell(settings, [TROUBLE], NOW, said.append)
    assert "hush-hush" not in str(raised.value)
    assert len(lines(settings)) == 1, "the log has it all the same"


def test_every_heading_is_in_the_runbook() -> None:
    runbook = (Path(__file__).parents[4] / "docs" / "runbook.md").read_text()
    for heading in Heading:
        assert f"\n## {heading}\n" in runbook, heading
