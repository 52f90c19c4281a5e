"""The console reports the watchdog's alerts when they begin and when they are over."""

from datetime import UTC, datetime, timedelta

from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.monitoring.alert_delivery import SERVER_PROBLEM, update_alerts
from pipelines.service.watchdog_alerts import WatchdogAlerts
from pipelines.settings import load_settings

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def test_an_alert_is_reported_once_when_it_begins_and_once_with_its_duration_when_it_is_over() -> None:
    settings, logged = load_settings(), list[str]()
    alerts = WatchdogAlerts(settings, logged.append)
    file = Problem("file BTC", "BTC: the file is not being written", RunbookHeading.SESSION)
    server = Problem(SERVER_PROBLEM, "no server", RunbookHeading.SERVER)  # `up` reports its own when it finds them
    for minutes, found in enumerate([[], [file], [file], [file], []]):
        now = NOW + timedelta(minutes=minutes)
        update_alerts(settings, found, now, lambda _: None)
        update_alerts(settings, [server], now, lambda _: None, by_up=True)
        alerts.report(now)
    assert [line.splitlines()[0].removeprefix("strikecast: ") for line in logged] == [
        "warning: file BTC: BTC: the file is not being written",
        "resolved (warning): file BTC: Resolved at 2026-03-31 12:04 UTC after 3 min: BTC: the file is not being written",
    ]
