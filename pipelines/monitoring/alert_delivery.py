"""The one way by which anybody hears of trouble: a log, and whoever the settings name, once as it begins and once as it
ends.

What lasts is kept in `alerts.json` in the home folder, so that a restart tells nothing twice. What could not be
delivered is tried again the next time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from pipelines.atomic_files import atomic_write
from pipelines.domain.monitoring.alerts import Alert, Heading, Problem, news
from pipelines.errors import SettingsError, StateError
from pipelines.log import Log
from pipelines.settings import Settings

LOCK_SECONDS = 10.0
#: What `up` itself looks after: nobody else can when the server is down.
SERVER = "server"
#: Messages that wait for an address that takes none; the oldest go first.
MOST_WAITING = 100


@dataclass(frozen=True)
class Waiting:
    """A message, and the numbers of the addresses that have not taken it."""

    alert: Alert
    addresses: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """What lasts, what was seen once, what is still to be delivered, and since when somebody looks (aware UTC)."""

    watching_since: datetime
    lasting: dict[str, Alert]
    suspected: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def read_state(settings: Settings, now: datetime) -> State:
    """The state of before; of a first look `now`. Raises StateError when the file cannot be read."""
    try:
        raw = orjson.loads(_path(settings).read_bytes())
        return State(
            datetime.fromisoformat(raw["watching_since"]),
            {key: _alert(one) for key, one in raw["lasting"].items()},
            tuple(raw["suspected"]),
            tuple(Waiting(_alert(one["alert"]), tuple(one["addresses"])) for one in raw["waiting"]),
        )
    except FileNotFoundError:
        return State(now, {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{_path(settings)} cannot be read ({error}): delete it, what lasts is told anew") from error


def tell(settings: Settings, found: Sequence[Problem], now: datetime, log: Log, *, server: bool = False) -> list[Alert]:
    """Take in all that is wrong now; tell what began and what ended, and what could not be told before.

    With `server` about the server alone, without it about everything else. Returns what lasts, oldest first. What
    cannot be written or delivered is told by `log`. Raises SettingsError for an address that is none, after the log has
    it, and StateError when what was told before is not known.
    """
    with maintenance_lock(settings):
        before = read_state(settings, now)
        ours = {key: one for key, one in before.lasting.items() if (key == SERVER) is server}
        others = {key: one for key, one in before.lasting.items() if (key == SERVER) is not server}
        began, ended, lasting = news(ours, before.suspected, found, now)
        suspected = tuple(one.key for one in found if one.passing and one.key not in lasting)
        for alert in (*began, *ended):
            log(f"{alert.title}: {alert.text}")
            _append(settings, alert, log)
        everyone = tuple(range(len(settings.alerts.urls)))
        waiting = (*before.waiting, *(Waiting(alert, everyone) for alert in (*began, *ended)))
        state = State(
            before.watching_since, others | lasting, before.suspected if server else suspected, waiting[-MOST_WAITING:]
        )
        if state != before or not _path(settings).exists():
            _write(settings, state, log)  # before it is delivered: told twice rather than never
        if state.waiting:
            left = [
                Waiting(one.alert, missed)
                for one in state.waiting
                if (missed := deliver(settings, one.alert.title, one.alert.text, one.addresses, log))
            ]
            _write(settings, replace(state, waiting=tuple(left)), log)
    return sorted(lasting.values(), key=lambda one: one.began_at)


def deliver(settings: Settings, title: str, text: str, addresses: Sequence[int], log: Log) -> tuple[int, ...]:
    """Send a message to addresses of the settings, by number; those that did not take it.

    Raises SettingsError for an address that is none.
    """
    wanted = [number for number in addresses if number < len(settings.alerts.urls)]
    if not wanted:
        return ()
    from apprise import Apprise

    missed = []
    for number in wanted:
        receiver = Apprise()
        if not receiver.add(settings.alerts.urls[number].get_secret_value()):
            raise SettingsError(
                f"alerts.urls: address {number + 1} is none that apprise knows, such as mailtos:// or json://"
            )
        if not receiver.notify(title=title, body=text):
            missed.append(number)
    if missed:
        numbers = ", ".join(str(number + 1) for number in missed)
        log(f"address {numbers} of alerts.urls did not take an alert, and is tried again: {title}")
    return tuple(missed)


@contextmanager
def maintenance_lock(settings: Settings) -> Iterator[None]:
    """Be the only one who tells; who looks within it cannot tell what another has seen end meanwhile.

    Raises StateError when another holds on to it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "alerts.lock", is_singleton=True)  # `tell` within `maintenance_lock`
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise StateError(f"{lock.lock_file} has been locked for {LOCK_SECONDS:g} s: another process tells") from error
    try:
        yield
    finally:
        lock.release()


def _path(settings: Settings) -> Path:
    return settings.home / "alerts.json"


def _append(settings: Settings, alert: Alert, log: Log) -> None:
    """Add to `logs/alerts.jsonl`, one object a line; a full disk must not keep anybody from hearing of it."""
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
            partial.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
    except OSError as error:
        log(f"{_path(settings)} cannot be written, so this may be told again: {error.strerror}")


def _alert(raw: dict[str, str]) -> Alert:
    ended = raw["ended_at"]
    return replace(
        Alert(raw["key"], raw["message"], Heading(raw["heading"]), datetime.fromisoformat(raw["began_at"])),
        ended_at=None if ended is None else datetime.fromisoformat(ended),
    )
