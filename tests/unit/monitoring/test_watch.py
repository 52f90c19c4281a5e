"""Whether problems are looked for at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_disks import fill, small_disk

from pipelines.domain.monitoring.alerts import AlertSeverity, Problem, RunbookHeading
from pipelines.monitoring.alert_delivery import (
    OFF_PROBLEM,
    TICKS_PROBLEM,
    WATCHDOG_PROBLEM,
    Watch,
    read_state,
    read_watch,
    update_alerts,
)
from pipelines.monitoring.ticking import Ticking, switched_off_problems, tick_problems
from pipelines.service.supervisor import _update_problems
from pipelines.settings import Settings, load_settings

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
DISK = Problem("disk", "the disk is full", RunbookHeading.STORAGE)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def silent(_: str) -> None:
    pass


def test_every_evaluation_is_recorded(settings: Settings) -> None:
    assert read_watch(settings) == Watch()
    update_alerts(settings, [], NOW, silent)
    update_alerts(settings, [], NOW + timedelta(minutes=1), silent, by_up=True)
    assert read_watch(settings) == Watch(up=NOW + timedelta(minutes=1), watchdog=NOW)


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        (Watch(), "problems have never been looked for in this home: start `strikecast up`"),
        (Watch(NOW, NOW - timedelta(minutes=2)), None),
        (Watch(NOW, NOW - timedelta(minutes=4)), "its daemon does not run the sensor `watchdog`"),
        (
            Watch(NOW - timedelta(hours=1), NOW - timedelta(hours=1)),
            "since 2026-03-31 11:00:00 UTC: `strikecast up`: start it",
        ),
    ],
)
def test_a_missing_watch_is_named_with_its_time_and_remedy(watch: Watch, message: str | None) -> None:
    missing = watch.missing(NOW)
    assert missing is None if message is None else missing is not None and message in missing


def test_a_damaged_record_counts_as_none(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "watch.json").write_text("{")
    assert read_watch(settings) == Watch()


def test_up_alerts_when_the_watchdog_stops_and_when_it_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("STRIKECAST_ALERTS", '{"least_free_pct": 0, "least_free_gibibytes": 0}')
    settings, now = load_settings(), datetime.now(UTC)
    _update_problems(settings, [], silent, now, tuple)
    assert set(read_state(settings, now).active) == {"server"}, "a watchdog has time to start"
    _update_problems(settings, [], silent, now - timedelta(minutes=4), tuple)
    assert set(read_state(settings, now).active) == {"server", WATCHDOG_PROBLEM}
    update_alerts(settings, [DISK], datetime.now(UTC), silent)
    assert set(read_state(settings, now).active) == {"server", WATCHDOG_PROBLEM, "disk"}
    _update_problems(settings, [], silent, now - timedelta(minutes=4), tuple)
    assert set(read_state(settings, now).active) == {"server", "disk"}


@pytest.mark.needs("a mount")
def test_up_alerts_on_a_full_disk_although_the_server_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("STRIKECAST_ALERTS", '{"least_free_pct": 1, "least_free_gibibytes": 0}')
    with small_disk(tmp_path / "disk", "1m") as disk:
        settings, now = load_settings(home=disk / "home"), datetime.now(UTC)
        key = "disk the home folder"
        _update_problems(settings, [], silent, now, tuple)
        assert key not in read_state(settings, now).active
        filler = fill(disk)
        _update_problems(settings, [], silent, now, tuple)
        assert "is full: No space left on device" in read_state(settings, now).active[key].message
        filler.unlink()
        _update_problems(settings, [], silent, now, tuple)
        assert key not in read_state(settings, now).active


def test_what_is_late_is_named_in_one_problem_that_worsens_with_the_number() -> None:
    since, minute = NOW - timedelta(hours=5), timedelta(minutes=1)
    found = [
        Ticking("daemon SENSOR", NOW - minute, 3 * minute),
        Ticking("sensor run_reaper", NOW - 4 * minute, 3 * minute),
        Ticking("schedule nightly_backup", None, 90 * minute),
    ]
    [problem] = tick_problems(found, since, NOW)
    assert (problem.key, problem.level) == (TICKS_PROBLEM, 2)
    assert problem.message.startswith("2 of 3 do not tick: sensor run_reaper, schedule nightly_backup (")
    assert tick_problems(found[:1], since, NOW) == []


def test_after_a_start_everything_has_time_to_tick() -> None:
    yesterday = Ticking("sensor run_reaper", NOW - timedelta(days=1), timedelta(minutes=3))
    assert tick_problems([yesterday], NOW - timedelta(minutes=2), NOW) == []
    [problem] = tick_problems([yesterday], NOW - timedelta(minutes=4), NOW)
    assert "(sensor run_reaper: last at 2026-03-30 12:00:00 UTC)" in problem.message


def test_an_alert_stays_while_its_facts_are_not_known(settings: Settings) -> None:
    ticks = Problem(TICKS_PROBLEM, "1 of 3 do not tick", RunbookHeading.WATCHDOG)
    update_alerts(settings, [ticks], NOW, silent, by_up=True)
    update_alerts(settings, [], NOW, silent, by_up=True, is_unknown=lambda key: key == TICKS_PROBLEM)
    assert set(read_state(settings, NOW).active) == {TICKS_PROBLEM}
    update_alerts(settings, [], NOW, silent, by_up=True)
    assert read_state(settings, NOW).active == {}


def test_what_is_switched_off_is_one_problem_unless_on_purpose() -> None:
    found = ["schedule nightly_backup", "sensor watchdog"]
    [problem] = switched_off_problems(found, [])
    assert (problem.key, problem.severity) == (OFF_PROBLEM, AlertSeverity.CRITICAL)
    assert problem.message.startswith("switched off: schedule nightly_backup, sensor watchdog; switch on in ")
    [schedule] = switched_off_problems(found, ["watchdog"])
    assert schedule.severity == AlertSeverity.WARNING
    assert schedule.level < problem.level, "a sensor in addition is reported again"
    assert switched_off_problems(found, ["watchdog", "nightly_backup"]) == []
