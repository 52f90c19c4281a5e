"""Alerts: problems from facts, their transitions, and their delivery."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_disks import fill, small_disk

from pipelines.domain.models.freshness import FileState, Freshness, Status, judge
from pipelines.domain.monitoring.alerts import (
    GIBIBYTE,
    AlertLimits,
    ClockFacts,
    DiskFacts,
    Facts,
    JobFacts,
    Problem,
    RunbookHeading,
    SlotFacts,
    Surroundings,
    clock_problem,
    disk_problem,
    problems,
    slot_problem,
)
from pipelines.domain.monitoring.audit.targets import Breach, Severity
from pipelines.domain.prices.ticks import Quote, QuoteValidator
from pipelines.errors import StateError
from pipelines.monitoring.alert_delivery import (
    MAX_MESSAGES,
    SERVER_PROBLEM,
    address_keys,
    alerts_lock,
    mark_delivered,
    read_delivered,
    read_state,
    read_watch,
    update_alerts,
)
from pipelines.settings import Settings, load_settings

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MONTHS_AGO = NOW - timedelta(days=60)
DAY = timedelta(hours=26)
SLOT_PROBLEM = Problem("slot standby", "replication slot standby is not read", RunbookHeading.SLOT)


def keys(**facts: Any) -> list[str]:
    return [one.key for one in problems(Facts(**({"watching_since": MONTHS_AGO} | facts)), AlertLimits(), NOW)]


def job(name: str = "backup_database", hours: float | None = 10, failed: str | None = None) -> JobFacts:
    return JobFacts(name, None if hours is None else NOW - timedelta(hours=hours), DAY, failed)


def fresh(symbol: str, age_seconds: float) -> Freshness:
    return judge(FileState(symbol, None, age_seconds, age_seconds))


def test_a_healthy_system_has_no_problems() -> None:
    disk = DiskFacts("the home folder", 50 * GIBIBYTE, 100 * GIBIBYTE)
    assert keys(jobs=[job()], files=[fresh("BTC", 0.5)], surroundings=Surroundings([disk]), days_ahead=3) == []


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
    assert keys(files=[fresh("BTC", 59), fresh("ETH", 61), judge(FileState("SOL", Status.MISSING))]) == [
        "file ETH",
        "file SOL",
    ]
    low = [DiskFacts("a", 9 * GIBIBYTE, 100 * GIBIBYTE), DiskFacts("b", GIBIBYTE, 4 * GIBIBYTE)]
    assert keys(surroundings=Surroundings(low)) == ["disk a", "disk b"]
    assert keys(days_ahead=2, drill_problem="it is damaged", database_error="gone") == [
        "database",
        "restore drill",
        "days ahead",
    ]


def test_an_unread_slot_worsens_with_its_wal_and_a_read_one_is_none() -> None:
    def level(gibibytes: float, *, is_active: bool = False) -> int:
        found = slot_problem(SlotFacts("standby", is_active, int(gibibytes * GIBIBYTE)), AlertLimits())
        return 0 if found is None else found.level

    assert [level(0.9), level(1.1), level(11)] == [0, 1, 2]
    assert level(11, is_active=True) == 0


def test_prices_of_the_exchange_that_are_dated_ahead_are_a_wrong_clock() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    validator = QuoteValidator()
    assert validator.validate(Quote("BTC", 95_100.0, now + timedelta(seconds=9)), now) is not None
    assert validator.problem is not None
    file = judge(FileState("BTC", None, 0.5, 0.5, Status.DEGRADED, (validator.problem,)))
    [found] = problems(Facts(MONTHS_AGO, files=[file]), AlertLimits(), NOW)
    assert (found.key, found.heading) == ("clock of prices of BTC", RunbookHeading.CLOCK)
    assert found.message == "BTC: prices are dated 9.0 s ahead of this machine's clock"


def test_a_clock_is_wrong_only_if_it_is_so_for_certain() -> None:
    def level(ahead: float, uncertain: float = 0.0) -> int:
        found = clock_problem(ClockFacts("the server", ahead, uncertain), AlertLimits())
        return 0 if found is None else found.level

    assert [level(1.9), level(2.1), level(-2.1), level(-25)] == [0, 1, 1, 2]
    assert level(4.0, uncertain=2.5) == 0, "the answer took five seconds"


@pytest.fixture
def logged() -> list[str]:
    return []


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.home / "logs" / "alerts.jsonl").read_text().splitlines()]


def test_an_alert_is_delivered_once_when_it_starts_and_once_when_it_ends(logged: list[str]) -> None:
    settings = load_settings()
    for minutes in range(5):
        active = update_alerts(settings, [SLOT_PROBLEM], NOW + timedelta(minutes=minutes), logged.append)
        assert [(one.key, one.began_at) for one in active] == [(SLOT_PROBLEM.key, NOW)]
    worse = Problem(SLOT_PROBLEM.key, "0.5 GiB free", SLOT_PROBLEM.heading)
    update_alerts(settings, [worse], NOW + timedelta(minutes=5), logged.append)
    assert update_alerts(settings, [], NOW + timedelta(minutes=6), logged.append) == []
    update_alerts(settings, [], NOW + timedelta(minutes=7), logged.append)
    assert [line.split(":")[1].strip() for line in logged] == ["warning", "resolved (warning)"]
    assert 'See docs/runbook.md, "A replication slot is not read".' in logged[0]
    assert [one["ended_at"] is None for one in lines(settings)] == [True, False]
    assert {one["runbook"] for one in lines(settings)} == {"docs/runbook.md: A replication slot is not read"}


def test_a_problem_that_worsens_is_reported_again_and_one_that_improves_is_not(logged: list[str]) -> None:
    settings, limits = load_settings(), AlertLimits()
    for free_bytes in (8 * GIBIBYTE, 7 * GIBIBYTE, 2 * GIBIBYTE, 5 * GIBIBYTE, 2 * GIBIBYTE, 0, 0):
        problem = disk_problem(DiskFacts("the backups", free_bytes, 100 * GIBIBYTE, "/srv"), limits)
        assert problem is not None
        update_alerts(settings, [problem], NOW, logged.append, by_up=True)
        [active] = read_state(settings, NOW).active.values()
        assert active.message == problem.message, "`strikecast alerts` shows the current one"
    update_alerts(settings, [], NOW, logged.append, by_up=True)
    full = "the disk of the backups (/srv) is full: No space left on device (0 B free, 0.0 %)"
    assert [line.splitlines()[0].removeprefix("strikecast: ") for line in logged] == [
        "warning: disk the backups: the disk of the backups (/srv) has 8.0 GiB free, 8.0 %",
        "critical: disk the backups: the disk of the backups (/srv) has 2.0 GiB free, 2.0 %",
        f"critical: disk the backups: {full}",
        f"resolved (critical): disk the backups: Resolved at 2026-03-31 12:00 UTC after 0.0 s: {full}",
    ]
    assert [one["severity"] for one in lines(settings)] == ["warning", "critical", "critical", "critical"]


@pytest.mark.needs("a mount")
def test_a_full_disk_repeats_no_alert_and_loses_no_end(logged: list[str], tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", "512k") as disk:
        settings = load_settings(alerts={"urls": ["json://127.0.0.1:1/hook"]})
        update_alerts(settings, [], NOW, logged.append)
        filler = fill(disk)
        for minutes in range(3):
            update_alerts(settings, [SLOT_PROBLEM], NOW + timedelta(minutes=minutes), logged.append)
        assert [one.began_at for one in read_state(settings, NOW).active.values()] == [NOW]
        assert read_watch(settings).watchdog == NOW + timedelta(minutes=2)
        [begun] = read_state(settings, NOW).messages
        [key] = address_keys(settings)
        mark_delivered(settings, key, begun.number)
        update_alerts(settings, [], NOW + timedelta(minutes=4), logged.append)
        [ended] = read_state(settings, NOW).messages
        assert ended.alert.ended_at is not None
        assert read_delivered(settings) == {key: begun.number}
        filler.unlink()
    assert len([line for line in logged if line.startswith("strikecast: ")]) == 2


def test_a_recurring_problem_starts_a_new_alert(logged: list[str]) -> None:
    settings = load_settings()
    for found in ([SLOT_PROBLEM], [], [SLOT_PROBLEM]):
        update_alerts(settings, found, NOW, logged.append)
    assert len(logged) == 3


def test_a_damaged_state_file_is_an_error_with_a_remedy(logged: list[str]) -> None:
    settings = load_settings()
    update_alerts(settings, [SLOT_PROBLEM], NOW, logged.append)
    (settings.home / "alerts.json").write_text("{")
    with pytest.raises(StateError, match=r"alerts.json cannot be read: delete it"):
        read_state(settings, NOW)


def test_a_transient_problem_starts_an_alert_at_the_second_evaluation(logged: list[str]) -> None:
    settings = load_settings()
    transient = Problem("file BTC", "it is 70 s old", RunbookHeading.SESSION, transient=True)
    for found, messages in (([transient], 0), ([], 0), ([transient], 0), ([transient], 1), ([transient], 1), ([], 2)):
        update_alerts(settings, found, NOW, logged.append)
        assert len(logged) == messages


def test_the_servers_problem_is_evaluated_separately(logged: list[str]) -> None:
    settings = load_settings()
    unreachable = Problem(SERVER_PROBLEM, "no server answers", RunbookHeading.SERVER)
    update_alerts(settings, [unreachable], NOW, logged.append, by_up=True)
    update_alerts(settings, [SLOT_PROBLEM], NOW, logged.append)
    assert set(read_state(settings, NOW).active) == {SERVER_PROBLEM, SLOT_PROBLEM.key}
    update_alerts(settings, [], NOW, logged.append, by_up=True)
    assert set(read_state(settings, NOW).active) == {SLOT_PROBLEM.key}


def test_messages_are_bounded_and_kept_until_every_url_has_accepted_them(logged: list[str]) -> None:
    settings = load_settings(alerts={"urls": ["json://a", "json://b"]})
    for number in range(120):
        found = [Problem(f"p{number}", "bad", RunbookHeading.JOB)]
        update_alerts(settings, found, NOW + timedelta(minutes=number), logged.append)
    stored = read_state(settings, NOW).messages
    assert len(stored) == MAX_MESSAGES
    for key, number in zip(address_keys(settings), (stored[10].number, stored[20].number), strict=True):
        mark_delivered(settings, key, number)
    update_alerts(settings, [], NOW + timedelta(minutes=120), logged.append)
    kept = read_state(settings, NOW).messages
    assert kept[:-1] == stored[11:], "one has not accepted these"
    alone = load_settings()
    update_alerts(alone, [SLOT_PROBLEM], NOW, logged.append)
    assert read_state(alone, NOW).messages == (), "without a URL there is nothing to keep"


def test_numbers_of_messages_increase_when_the_state_is_lost(logged: list[str]) -> None:
    settings = load_settings(alerts={"urls": ["json://a"]})
    update_alerts(settings, [SLOT_PROBLEM], NOW, logged.append)
    [before] = read_state(settings, NOW).messages
    (settings.home / "alerts.json").unlink()
    update_alerts(settings, [SLOT_PROBLEM], NOW + timedelta(seconds=1), logged.append)
    [after] = read_state(settings, NOW).messages
    assert after.number > before.number


def test_evaluations_are_serialized(logged: list[str]) -> None:
    settings, evaluating = load_settings(), threading.Event()

    def evaluate() -> None:
        with alerts_lock(settings):
            evaluating.set()
            later_evaluation.join(0.3)  # blocks while this evaluation holds the lock
            update_alerts(settings, [SLOT_PROBLEM], NOW, logged.append)

    def end_the_alert() -> None:
        evaluating.wait()
        with alerts_lock(settings):
            update_alerts(settings, [], NOW, logged.append)

    later_evaluation = threading.Thread(target=end_the_alert)
    later_evaluation.start()
    evaluate()
    later_evaluation.join()
    assert read_state(settings, NOW).active == {}
    assert [line.split(":")[1].strip() for line in logged] == ["warning", "resolved (warning)"]


def test_every_heading_exists_in_the_runbook() -> None:
    runbook = (Path(__file__).parents[4] / "docs" / "runbook.md").read_text()
    for heading in RunbookHeading:
        assert f"\n## {heading}\n" in runbook, heading
