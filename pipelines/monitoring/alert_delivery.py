"""Store and deliver alerts: to the log, to `logs/alerts.jsonl`, and to the URLs of the settings.

Each alert is delivered once when it starts and once when it ends. The state is stored in `alerts.json` in the home
folder, so a restart repeats nothing. Failed deliveries are retried at the next evaluation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from pipelines.atomic_files import atomic_write
from pipelines.domain.monitoring.alerts import Alert, Problem, diff_alerts
from pipelines.errors import SettingsError, StateError, single_line
from pipelines.log import Log
from pipelines.settings import Settings

LOCK_SECONDS = 10.0
#: Keys of the problems that `strikecast up` evaluates itself: the watchdog cannot run without the server, nor report
#: that it does not run.
SERVER_PROBLEM, WATCHDOG_PROBLEM = "server", "watchdog"
#: The watchdog evaluates every 30 s. After this time without, nobody can rely on the absence of alerts.
MAX_UNWATCHED = timedelta(minutes=3)
#: Maximum number of stored undelivered messages; the oldest are dropped.
MAX_UNDELIVERED = 100


@dataclass(frozen=True)
class Undelivered:
    """An alert, and the indexes of the URLs that have not accepted it."""

    alert: Alert
    addresses: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """Content of `alerts.json`: active alerts by key, keys of transient problems found once, and failed deliveries.

    `watching_since`: time of the first evaluation (aware UTC).
    """

    watching_since: datetime
    active: Annotated[dict[str, Alert], Field(alias="lasting")]
    pending: Annotated[tuple[str, ...], Field(alias="suspected")] = ()
    undelivered: Annotated[tuple[Undelivered, ...], Field(alias="waiting")] = ()


_STATE = TypeAdapter(State)


def read_state(settings: Settings, now: datetime) -> State:
    """The stored state; an empty one as of `now` before the first evaluation. Raises StateError for a damaged file."""
    try:
        return _STATE.validate_json(_path(settings).read_bytes())
    except FileNotFoundError:
        return State(now, {})
    except (OSError, ValueError) as error:
        raise StateError(
            f"{_path(settings)} cannot be read: delete it, which repeats active alerts ({single_line(str(error))})"
        ) from error


@dataclass(frozen=True)
class Watch:
    """Times of the newest evaluations, aware UTC: by `strikecast up`, and by Dagster's sensor `watchdog`."""

    up: datetime | None = None
    watchdog: datetime | None = None

    def missing(self, now: datetime) -> str | None:
        """Since when problems are not looked for; None while the watchdog evaluates them."""
        if self.watchdog is not None and now - self.watchdog <= MAX_UNWATCHED:
            return None
        if self.watchdog is None:
            return "problems have never been looked for in this home: start `strikecast up`"
        up_runs = self.up is not None and now - self.up <= MAX_UNWATCHED
        remedy = "its daemon does not run the sensor `watchdog`" if up_runs else "start it"
        return f"problems are not looked for since {self.watchdog:%Y-%m-%d %H:%M:%S} UTC: `strikecast up`: {remedy}"


_WATCH = TypeAdapter(Watch)


def read_watch(settings: Settings) -> Watch:
    """When problems were looked for last; never, when the file is missing or damaged."""
    try:
        return _WATCH.validate_json(_watch_path(settings).read_bytes())
    except (OSError, ValueError):
        return Watch()


def update_alerts(
    settings: Settings, found: Sequence[Problem], now: datetime, log: Log, *, server: bool = False
) -> list[Alert]:
    """Store the alerts that the problems at `now` start or end, and deliver them with earlier failed deliveries.

    `found`: with `server` the problems of SERVER_PROBLEM and WATCHDOG_PROBLEM, otherwise all others. Returns the active
    alerts of that kind, oldest first. Write and delivery errors are logged. Raises SettingsError for an invalid URL,
    after the alert was logged, and StateError when the stored state cannot be read.
    """
    with alerts_lock(settings):
        watch = read_watch(settings)
        _record_watch(settings, replace(watch, up=now) if server else replace(watch, watchdog=now))
        before = read_state(settings, now)
        by_up = (SERVER_PROBLEM, WATCHDOG_PROBLEM)
        evaluated = {key: one for key, one in before.active.items() if (key in by_up) is server}
        others = {key: one for key, one in before.active.items() if key not in evaluated}
        changed, active = diff_alerts(evaluated, before.pending, found, now)
        for alert in changed:
            log(f"{alert.title}: {alert.text}")
            _append(settings, alert, log)
        all_urls = tuple(range(len(settings.alerts.urls)))
        transient = tuple(one.key for one in found if one.transient and one.key not in active)
        undelivered = (*before.undelivered, *(Undelivered(alert, all_urls) for alert in changed))[-MAX_UNDELIVERED:]
        pending = before.pending if server else transient
        state = State(before.watching_since, others | active, pending, undelivered)
        if state != before or not _path(settings).exists():
            _write(settings, state, log)  # before the delivery: a crash may repeat a message, but not lose one
        if state.undelivered:
            failed = (
                Undelivered(one.alert, deliver(settings, one.alert.title, one.alert.text, one.addresses, log))
                for one in state.undelivered
            )
            _write(settings, replace(state, undelivered=tuple(one for one in failed if one.addresses)), log)
    return sorted(active.values(), key=lambda one: one.began_at)


def deliver(settings: Settings, title: str, text: str, addresses: Sequence[int], log: Log) -> tuple[int, ...]:
    """Send a message to the URLs with these indexes; returns the indexes of those that did not accept it.

    Raises SettingsError for an invalid URL.
    """
    urls, failed = settings.alerts.urls, []
    for index in (one for one in addresses if one < len(urls)):
        from apprise import Apprise

        receiver = Apprise()
        if not receiver.add(urls[index].get_secret_value()):
            raise SettingsError(f"alerts.urls: URL {index + 1} is invalid: use one of apprise's, such as mailtos://")
        if not receiver.notify(title=title, body=text):
            failed.append(index)
            log(f"URL {index + 1} of alerts.urls did not accept an alert, which will be retried: {title}")
    return tuple(failed)


@contextmanager
def alerts_lock(settings: Settings) -> Iterator[None]:
    """Serialize evaluation and delivery across processes. Raises StateError after a wait of 10 s."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "alerts.lock", is_singleton=True)  # reentrant: `update_alerts` within the context
    try:
        locked = lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise StateError(
            f"{lock.lock_file} has been locked for {LOCK_SECONDS:g} s: another process is delivering alerts; try again"
        ) from error
    with locked:
        yield


def _path(settings: Settings) -> Path:
    return settings.home / "alerts.json"


def _watch_path(settings: Settings) -> Path:
    return settings.home / "watch.json"


def _record_watch(settings: Settings, watch: Watch) -> None:
    """Replace the file, which an outside monitor may watch; its age says when that fails."""
    with suppress(OSError), atomic_write(_watch_path(settings)) as partial:
        partial.write_bytes(_WATCH.dump_json(watch))


def _append(settings: Settings, alert: Alert, log: Log) -> None:
    """Add a line to `logs/alerts.jsonl`; an error, such as a full disk, must not prevent the delivery."""
    log_file = settings.home / "logs" / "alerts.jsonl"
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as file:
            file.write(orjson.dumps({**asdict(alert), "runbook": f"docs/runbook.md: {alert.heading}"}) + b"\n")
    except OSError as error:
        log(f"{log_file} cannot be written: {error.strerror}")


def _write(settings: Settings, state: State, log: Log) -> None:
    try:
        with atomic_write(_path(settings)) as partial:
            partial.write_bytes(_STATE.dump_json(state, indent=2, by_alias=True))
    except OSError as error:
        log(f"{_path(settings)} cannot be written, so alerts may be repeated: {error.strerror}")
