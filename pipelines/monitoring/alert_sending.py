"""Send the stored messages about alerts to the URLs of the settings, each independently of the others.

`strikecast up` does so in background threads; without it, `strikecast alerts` tries each URL once. Evaluations only
store messages (`alert_delivery`), so no URL can delay them. Each message is sent by a process of its own, which is
killed after SEND_TIMEOUT_SECONDS.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
from filelock import FileLock, Timeout

from pipelines.domain.monitoring.messages import plan_delivery
from pipelines.errors import SettingsError, single_line
from pipelines.log import Log
from pipelines.monitoring.alert_delivery import address_keys, mark_delivered, read_delivered, read_state
from pipelines.monitoring.send_alert import INVALID
from pipelines.settings import Settings

SEND_TIMEOUT_SECONDS = 30.0
#: Interval at which a thread looks for new messages.
POLL_SECONDS = 1.0
#: Pauses after failures in a row: 5, 10, 20 ... s, at most 15 minutes.
FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 900.0
STOP_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Address:
    """A URL of the settings by its position, from 1; `key` identifies it in `delivery.json`."""

    position: int
    key: str
    url: str = field(repr=False)

    def send(self, title: str, text: str, stop: threading.Event) -> str | None:
        """Send a message; return None when it was accepted, otherwise why not. Ends early when `stop` is set.

        Raises SettingsError when the URL is invalid.
        """
        name = f"URL {self.position} of alerts.urls"
        command = [sys.executable, "-m", "pipelines.monitoring.send_alert"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, start_new_session=True, **quiet) as child:  # type: ignore[call-overload]
            with suppress(OSError):  # it has ended already
                child.stdin.write(orjson.dumps([self.url, title, text]))
                child.stdin.close()
            deadline = time.monotonic() + SEND_TIMEOUT_SECONDS
            while child.poll() is None and time.monotonic() < deadline and not stop.wait(0.05):
                pass
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                return f"{name} did not answer within {SEND_TIMEOUT_SECONDS:g} s"
        if child.returncode == INVALID:
            raise SettingsError(f"{name} is invalid: use one of apprise's, such as mailtos://")
        return None if child.returncode == 0 else f"{name} did not accept a message"


def addresses(settings: Settings) -> list[Address]:
    """The URLs of the settings."""
    known = zip(address_keys(settings), settings.alerts.urls, strict=True)
    return [Address(number, key, url.get_secret_value()) for number, (key, url) in enumerate(known, start=1)]


@contextmanager
def delivering(settings: Settings, log: Log) -> Iterator[None]:
    """Deliver messages in background threads within the context, which neither waits for them nor fails with them."""
    if not settings.alerts.urls:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_deliver_until, args=(stop, settings, log), daemon=True, name="alert delivery")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_TIMEOUT_SECONDS)


def deliver_once(settings: Settings, log: Log) -> None:
    """Try to deliver what each URL missed, once and at the same time; nothing while another process delivers."""
    if not settings.alerts.urls:
        return
    with suppress(Timeout), _delivery_lock(settings).acquire(timeout=0):
        for failure in _at_once(addresses(settings), lambda one: _deliver_missed(settings, one, threading.Event())):
            if failure is not None:
                log(failure)


def send_test(settings: Settings, log: Log) -> bool:
    """Send a test message to all URLs at the same time; log failures, and return whether all accepted it.

    Raises SettingsError for an invalid URL.
    """
    text = "If you can read this, alerts are delivered."
    failures = _at_once(addresses(settings), lambda one: one.send("strikecast: test", text, threading.Event()))
    for failure in failures:
        if failure is not None:
            log(failure)
    return not any(failures)


def _at_once(found: Sequence[Address], call: Callable[[Address], str | None]) -> list[str | None]:
    with ThreadPoolExecutor(max(1, len(found))) as pool:
        return list(pool.map(call, found))


def _delivery_lock(settings: Settings) -> FileLock:
    """The lock of the one process that delivers."""
    settings.home.mkdir(parents=True, exist_ok=True)
    return FileLock(settings.home / "delivery.lock", mode=0o600)


def _deliver_until(stop: threading.Event, settings: Settings, log: Log) -> None:
    lock = _delivery_lock(settings)
    while not stop.is_set():
        try:
            with lock.acquire(timeout=POLL_SECONDS):
                threads = [
                    threading.Thread(target=_deliver_to, args=(one, stop, settings, log), daemon=True)
                    for one in addresses(settings)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return
        except Timeout:
            continue


def _deliver_to(address: Address, stop: threading.Event, settings: Settings, log: Log) -> None:
    """Deliver to one URL until `stop` is set; after a failure wait, longer after each in a row."""
    failures = 0
    while not stop.is_set():
        failure = _deliver_missed(settings, address, stop)
        if failure is None:
            if failures:
                log(f"URL {address.position} of alerts.urls accepts messages again")
            failures = 0
            stop.wait(POLL_SECONDS)
        elif not stop.is_set():
            if not failures:
                log(f"{failure}; it is tried again, at least every {MAX_PAUSE_SECONDS / 60:g} min")
            failures += 1
            stop.wait(pause_seconds(failures))


def pause_seconds(failures: int) -> float:
    """Pause after so many failures in a row, at least one."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))


def _deliver_missed(settings: Settings, address: Address, stop: threading.Event) -> str | None:
    """Send what a URL missed, until one message is not accepted; return why, None when all were."""
    now = datetime.now(UTC)
    try:
        delivered = read_delivered(settings).get(address.key, 0)
        missed = [one for one in read_state(settings, now).messages if one.number > delivered]
        for outgoing in plan_delivery(missed, now):
            failure = address.send(outgoing.title, outgoing.text, stop)
            if failure is not None:
                return failure
            mark_delivered(settings, address.key, outgoing.number)
    except SettingsError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (the edge of the thread: without it a URL gets no message any more)
        return f"messages for URL {address.position} of alerts.urls: {type(error).__name__}: {single_line(str(error))}"
    return None
