"""Threads of `strikecast up`, which outlive the failure of a call."""

from collections.abc import Callable
from threading import Thread

from pipelines.errors import StrikecastError, place_of, single_line
from pipelines.log import Log


def repeat(name: str, call: Callable[[], object], ends: Callable[[], bool], log: Log) -> Thread:
    """Start a thread that makes a call again and again, until `ends`, which also waits, returns true before one.

    An exception is logged, once while it lasts, with its place if it is not a StrikecastError.
    """

    def run() -> None:
        failure = None
        while not ends():
            try:
                call()
                failure = None
            except Exception as error:  # noqa: BLE001 (the edge of the thread: without it nothing is supervised)
                text = single_line(str(error)) or type(error).__name__
                if not isinstance(error, StrikecastError):
                    text = f"{name}: {type(error).__name__}: {text} ({place_of(error)})"
                if text != failure:
                    log(text)
                failure = text

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
