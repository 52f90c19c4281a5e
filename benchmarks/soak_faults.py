"""The faults of the soak test: how each is made and ended, and how to see that it was noticed and is over."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pipelines.domain.prices.ticks import AHEAD_OF_CLOCK
from pipelines.service.health_checks import code_server_responds, http_responds

if TYPE_CHECKING:
    from benchmarks.soak_system import Soak

#: A part of the command line of each child of `up`.
CHILDREN = {
    "code_server": " api grpc ",
    "webserver": "pipelines.web.dagster_ui",
    "daemon": "dagster._daemon",
    "page": " serve ",
    "log_writer": "log_writer",
}


@dataclass(frozen=True)
class Fault:
    """A fault; it lasts for `seconds`, after which `end` is called.

    `notice_seconds` and `over_seconds`: bounds of the time until it was reported or acted upon, and of the time until
    everything works again, counted from its end. `was_noticed` is None when there is nothing to report.
    """

    name: str
    begin: Callable[["Soak"], None]
    was_noticed: Callable[["Soak"], bool] | None
    is_over: Callable[["Soak"], bool]
    notice_seconds: float
    over_seconds: float
    seconds: float = 0.0
    end: Callable[["Soak"], None] = lambda _: None


def child(soak: "Soak", name: str) -> psutil.Process | None:
    """The child process of `up` with this name."""
    for pid, _ in soak.pid_file().get("children", []):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if CHILDREN[name] in " ".join(process.cmdline()):
                return process
    return None


def _signal_child(name: str, number: signal.Signals) -> Callable[["Soak"], None]:
    def begin(soak: "Soak") -> None:
        process = child(soak, name)
        soak.hit_pid = -1 if process is None else process.pid
        if process is not None:
            process.send_signal(number)

    return begin


def _child_works(name: str) -> Callable[["Soak"], bool]:
    def works(soak: "Soak") -> bool:
        process = child(soak, name)
        if process is None or process.pid == soak.hit_pid:
            return False
        if name == "daemon":
            return soak.dagster_ticks_since(process.create_time())
        if name == "code_server":
            words = process.cmdline()
            return code_server_responds(Path(words[words.index("--socket") + 1]))
        url = {"webserver": "ui_url", "page": "page_url"}.get(name)
        return url is None or http_responds(soak.pid_file()[url])

    return works


def _signal_session(number: signal.Signals) -> Callable[["Soak"], None]:
    def begin(soak: "Soak") -> None:
        soak.hit_session = soak.session()
        os.kill(soak.session_pid(), number)

    return begin


def _signal_server(number: signal.Signals) -> Callable[["Soak"], None]:
    return lambda soak: os.kill(soak.server_pid(), number)


def _restart_up(soak: "Soak") -> None:
    page = child(soak, "page")
    soak.hit_pid = -1 if page is None else page.pid
    soak.restart_up()


def _later_session(soak: "Soak") -> bool:
    return soak.session() > soak.hit_session and soak.is_fresh()


def _fresh_and_usable(soak: "Soak") -> bool:
    return soak.is_fresh() and soak.database_works()


def _is_stale(soak: "Soak") -> bool:
    return not soak.is_fresh()


def _feed_fault(
    name: str,
    seconds: float,
    was_noticed: Callable[["Soak"], bool],
    notice_seconds: float,
    over_seconds: float = 5,
    **mode: float | bool,
) -> Fault:
    """A fault of the feed, which does for `seconds` what `mode` says."""
    return Fault(
        f"{name} for {seconds:g} s",
        lambda soak: soak.feed(**mode),
        was_noticed,
        _fresh_and_usable,
        notice_seconds,
        over_seconds,
        seconds,
        lambda soak: soak.feed(),
    )


def faults() -> list[Fault]:
    """All faults."""
    found = []
    for number, word, seconds in ((signal.SIGKILL, "killed", 10), (signal.SIGSTOP, "stopped", 20)):
        found += [
            Fault(
                f"{name} {word}",
                _signal_child(name, number),
                lambda soak, name=name: soak.logged(f"{name} ended", f"{name} did not respond"),  # type: ignore[misc]
                _child_works(name),
                seconds,
                60,
            )
            for name in CHILDREN
        ]
        found += [
            Fault(f"live session {word}", _signal_session(number), _later_session, _later_session, 10, 10),
            Fault(
                f"database server {word}",
                _signal_server(number),
                lambda soak: soak.logged("database server ended", "database server did not"),
                _fresh_and_usable,
                seconds,
                60,
            ),
        ]
    return [
        *found,
        Fault(
            "up stopped for 10 s and continued",
            lambda soak: soak.signal_up(signal.SIGSTOP),
            None,
            lambda soak: _fresh_and_usable(soak) and not soak.logged("did not respond"),
            0,
            10,
            seconds=10,
            end=lambda soak: soak.signal_up(signal.SIGCONT),
        ),
        Fault(
            "up killed, started again by a service manager",
            _restart_up,
            lambda soak: soak.logged("left by a killed strikecast"),
            lambda soak: _child_works("page")(soak) and _fresh_and_usable(soak),
            30,
            90,
        ),
        Fault(
            "all database connections cut",
            lambda soak: soak.cut_connections(),
            _later_session,
            _fresh_and_usable,
            15,
            30,
        ),
        Fault(
            "disk full for 60 s",
            lambda soak: soak.fill_disk(),
            lambda soak: soak.alerted("disk "),
            _fresh_and_usable,
            60,
            60,
            seconds=60,
            end=lambda soak: soak.free_disk(),
        ),
        _feed_fault(
            "feed's clock 30 s ahead", 20, lambda soak: soak.file_says(AHEAD_OF_CLOCK), 5, over_seconds=40, skew=30.0
        ),
        _feed_fault("feed's clock 60 s behind", 20, _is_stale, 5, skew=-60.0),
        _feed_fault("feed silent (alert after 60 s)", 150, lambda soak: soak.alerted("file BTC"), 140, silent=True),
        _feed_fault("feed repeats its last price and time", 20, _is_stale, 5, frozen=True),
        _feed_fault("feed sends prices of 0, NaN and infinity", 10, _is_stale, 5, impossible=True),
    ]
