"""Store alerts: in the log, in `logs/alerts.jsonl`, and as messages for the URLs of the settings.

Each alert is reported when it starts, when it worsens, and when it ends. The state is stored in `alerts.json` in the
home folder, so a restart repeats nothing; it keeps its space, so that a full disk cannot prevent its update. Nothing is
sent from here (`alert_sending`): an evaluation waits for no URL.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Annotated

import orjson
from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from pipelines.atomic_files import read_json, replace_or_overwrite
from pipelines.domain.monitoring.alerts import Alert, Problem, diff_alerts
from pipelines.domain.monitoring.messages import Message
from pipelines.errors import StateError, printable, single_line
from pipelines.log import Log
from pipelines.settings import Settings

LOCK_SECONDS = 10.0
#: Keys of the problems that `strikecast up` evaluates itself: the watchdog cannot run without the server, which a full
#: disk stops, nor report that sensors, such as itself, do not run.
SERVER_PROBLEM, WATCHDOG_PROBLEM, TICKS_PROBLEM, OFF_PROBLEM = "server", "watchdog", "ticks", "switched off"
#: With the keys of problems of a process and of a disk, which have its name after them.
PROCESS_PROBLEM, DISK_PROBLEM = "process ", "disk "
#: Beginnings of the keys of all these problems.
BY_UP = (SERVER_PROBLEM, WATCHDOG_PROBLEM, TICKS_PROBLEM, OFF_PROBLEM, PROCESS_PROBLEM, DISK_PROBLEM)
#: The watchdog evaluates every 30 s. After this time without, nobody can rely on the absence of alerts.
MAX_UNWATCHED = timedelta(minutes=3)
#: Maximum number of stored messages; the oldest are dropped, delivered or not.
MAX_MESSAGES = 100


@dataclass(frozen=True)
class State:
    """Content of `alerts.json`: active alerts by key, transient problems without an alert, and messages.

    `watching_since`: time of the first evaluation (aware UTC); `pending`: by key, when they were found first.
    """

    watching_since: datetime
    active: Annotated[dict[str, Alert], Field(alias="lasting")]
    pending: Annotated[dict[str, datetime], Field(alias="suspected_since", default_factory=dict)]
    messages: tuple[Message, ...] = ()


_STATE = TypeAdapter(State)
_DELIVERED = TypeAdapter(dict[str, int])
_marking = Lock()


def read_state(settings: Settings, now: datetime) -> State:
    """The stored state; an empty one as of `now` before the first evaluation. Raises StateError for a damaged file."""
    try:
        return read_json(_path(settings), _STATE)
    except FileNotFoundError:
        return State(now, {}, {})
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
        return read_json(_watch_path(settings), _WATCH)
    except (OSError, ValueError):
        return Watch()


def update_alerts(
    settings: Settings,
    found: Sequence[Problem],
    now: datetime,
    log: Log,
    *,
    by_up: bool = False,
    is_unknown: Callable[[str], bool] = lambda _: False,
) -> list[Alert]:
    """Store the alerts that the problems at `now` start, worsen or end, and a message about each.

    `found`: the problems that `strikecast up` evaluates itself if `by_up`, otherwise all others. Alerts whose key
    `is_unknown`, since their facts could not be read, stay as they are. Returns the active alerts of that kind, oldest
    first. Write errors are logged. Raises StateError when the stored state cannot be read.
    """
    with alerts_lock(settings):
        watch = read_watch(settings)
        _record_watch(settings, replace(watch, up=now) if by_up else replace(watch, watchdog=now))
        before = read_state(settings, now)
        evaluated = {
            key: one for key, one in before.active.items() if key.startswith(BY_UP) is by_up and not is_unknown(key)
        }
        others = {key: one for key, one in before.active.items() if key not in evaluated}
        shown = [replace(one, key=printable(one.key), message=single_line(one.message)) for one in found]
        changed, active = diff_alerts(evaluated, before.pending, shown, now)
        for alert in changed:
            log(f"{alert.title}: {alert.text}")
            _append(settings, alert, log)
        transient = {
            one.key: before.pending.get(one.key, now) for one in shown if one.transient and one.key not in active
        }
        state = State(
            before.watching_since,
            others | active,
            before.pending if by_up else transient,
            _with_new_messages(settings, before.messages, changed, now),
        )
        if state != before or not _path(settings).exists():
            _write(settings, state, log)
        if not _delivered_path(settings).exists():  # a full disk would prevent the first delivery's record
            with suppress(OSError):
                replace_or_overwrite(_delivered_path(settings), b"{}")
    return sorted(active.values(), key=lambda one: one.began_at)


def _with_new_messages(
    settings: Settings, stored: Sequence[Message], changed: Sequence[Alert], now: datetime
) -> tuple[Message, ...]:
    """The messages that a URL has not accepted, and one for each changed alert; none without URLs.

    Numbers are times in microseconds, so that they increase even if the state is lost; they do so if the clock is set
    back, too.
    """
    keys = address_keys(settings)
    if not keys:
        return ()
    delivered = read_delivered(settings)
    settled = min(delivered.get(key, 0) for key in keys)
    used = [*(one.number for one in stored), *delivered.values()]
    first = max(int(now.timestamp() * 1e6), *(number + 1 for number in used), 0)
    new = (Message(number, now, alert) for number, alert in enumerate(changed, start=first))
    return (*(one for one in stored if one.number > settled), *new)[-MAX_MESSAGES:]


def address_keys(settings: Settings) -> list[str]:
    """Names of the URLs of the settings in `delivery.json`: digests, which do not contain their secrets."""
    return [sha256(url.get_secret_value().encode()).hexdigest()[:16] for url in settings.alerts.urls]


def read_delivered(settings: Settings) -> dict[str, int]:
    """Number of the newest delivered message by the key of the URL; empty when the file is missing or damaged."""
    try:
        return read_json(_delivered_path(settings), _DELIVERED)
    except (OSError, ValueError):
        return {}


def mark_delivered(settings: Settings, key: str, number: int) -> None:
    """Record that a URL has accepted the messages up to this number. Raises OSError."""
    with _marking:  # by one process, in threads
        delivered = read_delivered(settings) | {key: number}
        replace_or_overwrite(_delivered_path(settings), _DELIVERED.dump_json(delivered))


@contextmanager
def alerts_lock(settings: Settings) -> Iterator[None]:
    """Serialize evaluations across processes. Raises StateError after a wait of 10 s."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "alerts.lock", mode=0o600, is_singleton=True)  # reentrant, for `update_alerts`
    try:
        locked = lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise StateError(
            f"{lock.lock_file} has been locked for {LOCK_SECONDS:g} s: another process is evaluating alerts; try again"
        ) from error
    with locked:
        yield


def _path(settings: Settings) -> Path:
    return settings.home / "alerts.json"


def _delivered_path(settings: Settings) -> Path:
    return settings.home / "delivery.json"


def _watch_path(settings: Settings) -> Path:
    return settings.home / "watch.json"


def _record_watch(settings: Settings, watch: Watch) -> None:
    """Replace the file, which an outside monitor may watch; its age says when that fails."""
    with suppress(OSError):
        replace_or_overwrite(_watch_path(settings), _WATCH.dump_json(watch))


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
        replace_or_overwrite(_path(settings), _STATE.dump_json(state, indent=2, by_alias=True))
    except OSError as error:
        log(f"{_path(settings)} cannot be written, so alerts may be repeated: {error.strerror}")
