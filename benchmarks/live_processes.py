"""Live sessions in processes of their own, and what their files show."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from pipelines.storage.postgres.connection import Database

TIERS = {"BTC": 250.0, "ETH": 20.0}
SESSION = """
import sys, orjson
from datetime import timedelta
from pathlib import Path
from pipelines.live.feeds.factory import replay_factory
from pipelines.live.session import LiveSession
from pipelines.storage.postgres.connection import Database
url, output, tiers, speed, rate, period = sys.argv[1:]
tiers = orjson.loads(tiers)
session = LiveSession(
    Database(url), Path(output), tiers, replay_factory(list(tiers), float(speed), float(rate)),
    period=timedelta(seconds=float(period)), wait=True, log=lambda text: None,
)
try:
    session.run()
except KeyboardInterrupt:
    pass
print(orjson.dumps({**session.metrics.counters(), "gap": session.metrics.longest_gap_seconds,
                    "latencies": session.metrics.latencies_ms()}).decode())
"""


@contextmanager
def session(
    database: Database,
    output: Path,
    tiers: dict[str, float] | None = None,
    *,
    speed: float = 1.0,
    rate: float = 1.0,
    period: float = 3600.0,
) -> Iterator[subprocess.Popen[str]]:
    """A live session by replay; its figures are what it prints when it ends."""
    arguments = [database.url, str(output), orjson.dumps(tiers or TIERS).decode(), str(speed), str(rate), str(period)]
    child = subprocess.Popen([sys.executable, "-c", SESSION, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def ended(child: subprocess.Popen[str]) -> dict[str, float]:
    """End a session in order; its figures."""
    child.send_signal(signal.SIGINT)
    text, _ = child.communicate(timeout=30)
    figures: dict[str, float] = orjson.loads(text.splitlines()[-1])
    return figures


def written(path: Path) -> float | None:
    """When a file was written, seconds since 1970; None before the first time."""
    try:
        return path.stat().st_mtime_ns / 1e9
    except FileNotFoundError:
        return None


def watch(path: Path, until: Callable[[], bool]) -> list[float]:
    """Every instant at which a file was replaced."""
    seen: list[float] = []
    while not until():
        at = written(path)
        if at is not None and (not seen or at != seen[-1]):
            seen.append(at)
        time.sleep(0.002)
    return seen


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen")
        time.sleep(0.005)


def number(path: Path) -> int:
    """The session that wrote a file."""
    return int(orjson.loads(path.read_bytes())["session"])


def timed(work: Callable[[int], object], repeats: int) -> list[float]:
    """Seconds of each call."""
    samples = []
    for i in range(repeats):
        started = time.perf_counter()
        work(i)
        samples.append(time.perf_counter() - started)
    return samples
