"""Child processes of `strikecast up`: start them, ask whether they respond, and replace those that ended or hang."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event

import psutil

from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.errors import ServerUnavailableError
from pipelines.log import Log
from pipelines.monitoring.alert_delivery import PROCESS_PROBLEM
from pipelines.service.threads import repeat

CHECK_SECONDS = 2.0
#: A child that has responded once is replaced when it does not respond for this long. Checks take up to five seconds
#: more: 19 s in all.
SILENT_SECONDS = 12.0
#: Loading the definitions takes several seconds, and ten times as long on an overloaded machine.
START_TIMEOUT_SECONDS = 240.0
#: A replacement is a problem for this long.
RECENT_SECONDS = 600.0
#: The delay of a replacement doubles with each recent one: 0, 1, 2, 4 ... seconds.
MAX_DELAY_SECONDS = 60.0
#: This process itself did not run for longer than that, so the ages of responses mean nothing.
MAX_PAUSE_SECONDS = 5.0


@dataclass
class Replacements:
    """The recent replacements of a process, by the monotonic clock, and the reason of the newest."""

    name: str
    instants: list[float] = field(default_factory=list)
    reason: str = ""

    def add(self, reason: str) -> float:
        """Record one; returns the seconds to wait before the next process is started."""
        now = time.monotonic()
        self.reason, earlier = reason, self._recent(now)
        self.instants = [*earlier, now]
        return min(2.0 ** (len(earlier) - 1), MAX_DELAY_SECONDS) if earlier else 0.0

    def problems(self) -> list[Problem]:
        """The problem that there were replacements lately, if so."""
        count = len(self._recent(time.monotonic()))
        if not count:
            return []
        times = "once" if count == 1 else f"{count} times"
        minutes = RECENT_SECONDS / 60
        message = f"{self.name} was replaced {times} in the last {minutes:.0f} minutes: it {self.reason}"
        return [Problem(f"{PROCESS_PROBLEM}{self.name}", message, RunbookHeading.PROCESS)]

    def _recent(self, now: float) -> list[float]:
        return [at for at in self.instants if now - at < RECENT_SECONDS]


@dataclass
class Child:
    """A child process. Instants are by the monotonic clock.

    `is_responding` is called every two seconds on a thread of its own, and must return within five seconds. It returns
    None where that cannot be known now: a child that has responded before is then not blamed, and one that is starting
    has not responded yet.
    """

    name: str
    start: Callable[[], psutil.Popen]
    is_responding: Callable[[], bool | None]
    process: psutil.Popen | None = None
    started_at: float = 0.0
    responded_at: float | None = None
    #: When the next process is started, while there is none.
    due_at: float = 0.0
    replacements: Replacements = field(init=False)

    def __post_init__(self) -> None:
        self.replacements = Replacements(self.name)

    def responds(self) -> bool:
        """Whether the child has responded lately."""
        return self.responded_at is not None and time.monotonic() - self.responded_at < 2 * MAX_PAUSE_SECONDS

    def failure(self, now: float, *, starting: bool = False) -> str | None:
        """Why the child must be replaced, None when it need not be. `starting`: while others are starting as well."""
        if self.process is None:
            return None
        if self.process.poll() is not None:
            return f"ended with exit code {self.process.returncode}"
        since = self.responded_at or self.started_at
        if self.responded_at is not None:
            limit = START_TIMEOUT_SECONDS if starting else SILENT_SECONDS
        else:
            limit = SILENT_SECONDS if _is_stopped(self.process) else START_TIMEOUT_SECONDS
        return f"did not respond for {now - since:.0f} s" if now - since > limit else None


class Children:
    """The child processes, in the order of their start. Call `start` and `check` from one thread."""

    def __init__(self, log: Log, logs_folder: object, on_change: Callable[[], None]) -> None:
        """`on_change` is called after each start."""
        self._log = log
        self._logs_folder = logs_folder
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._stop = Event()
        self._checked_at = time.monotonic()

    def running(self) -> dict[str, psutil.Popen]:
        """The processes that were started last, by name."""
        return {name: child.process for name, child in self._children.items() if child.process is not None}

    def start(self, child: Child, *, wait: bool = True) -> None:
        """Start a child and, with `wait`, wait until it responds. Raises ServerUnavailableError when it does not."""
        self._children[child.name] = child
        self._start(child)
        repeat(f"check of {child.name}", partial(_ask, child), lambda: self._stop.wait(CHECK_SECONDS), self._log)
        while wait and child.responded_at is None:
            self.require_running()
            time.sleep(0.1)
        self._checked_at = time.monotonic()

    def require_running(self) -> None:
        """Raise ServerUnavailableError when a child has ended or did not start in time.

        A child that has started is not expected to respond while the others start on a busy machine.
        """
        for child in self._children.values():
            reason = child.failure(time.monotonic(), starting=True)
            if reason is not None:
                raise ServerUnavailableError(f"{child.name} {reason}; see the logs in {self._logs_folder}")

    def check(self) -> bool:
        """Replace the children that ended or hang, when their delay is over; whether one failed in this call."""
        now = time.monotonic()
        if now - self._checked_at > MAX_PAUSE_SECONDS:
            for child in self._children.values():
                child.started_at = now
                child.responded_at = None if child.responded_at is None else now
        self._checked_at = now
        failed = [child for child in self._children.values() if self._end_failed(child, now)]
        for child in self._children.values():
            if child.process is None and now >= child.due_at:
                try:
                    self._start(child)
                except OSError as error:  # no memory, no process ids, ...
                    child.due_at = now + max(1.0, child.replacements.add(f"could not be started: {error}"))
        return bool(failed)

    def problems(self) -> list[Problem]:
        """One problem for each child that was replaced lately."""
        return [problem for child in self._children.values() for problem in child.replacements.problems()]

    def stop_checks(self) -> None:
        """End the threads that ask the children."""
        self._stop.set()

    def _start(self, child: Child) -> None:
        child.responded_at = None
        child.started_at = time.monotonic()
        child.process = child.start()
        self._on_change()

    def _end_failed(self, child: Child, now: float) -> bool:
        reason = child.failure(now)
        if reason is None or child.process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            child.process.kill()  # a stopped process ignores all other signals
        child.process.wait()
        child.process = None
        delay = child.replacements.add(reason)
        child.due_at = now + delay
        self._log(f"{child.name} {reason}; starting another{f' in {delay:.0f} s' if delay else ''}")
        return True


def _ask(child: Child) -> None:
    process = child.process
    if process is None or _is_stopped(process):
        return
    responds = child.is_responding()
    if process is child.process and (responds or (responds is None and child.responded_at is not None)):
        child.responded_at = time.monotonic()


def _is_stopped(process: psutil.Process) -> bool:
    """Whether a process is stopped by a signal, in which state some channels still accept requests."""
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False
