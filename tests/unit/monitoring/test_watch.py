"""Whether problems are looked for at all."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.monitoring.alert_delivery import WATCHDOG_PROBLEM, Watch, read_state, read_watch, update_alerts
from pipelines.service.supervisor import _check_server
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
    update_alerts(settings, [], NOW + timedelta(minutes=1), silent, server=True)
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
    settings, now = load_settings(), datetime.now(UTC)
    _check_server(settings, silent, started_at=now)
    assert set(read_state(settings, now).active) == {"server"}, "a watchdog has time to start"
    _check_server(settings, silent, started_at=now - timedelta(minutes=4))
    assert set(read_state(settings, now).active) == {"server", WATCHDOG_PROBLEM}
    update_alerts(settings, [DISK], datetime.now(UTC), silent)
    assert set(read_state(settings, now).active) == {"server", WATCHDOG_PROBLEM, "disk"}
    _check_server(settings, silent, started_at=now - timedelta(minutes=4))
    assert set(read_state(settings, now).active) == {"server", "disk"}
