"""Live sessions in processes of their own, and the files that they write."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.price_files import price_file
from pipelines.storage.postgres.connection import Database

TIERS = {"BTC": 250.0, "ETH": 20.0}
SESSION = """
import sys, orjson
from datetime import timedelta
from pathlib import Path
from pipelines.live.feeds.factory import replay_factory
from pipelines.live.market_factory import markets_factory
from pipelines.live.session import LiveSession
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database
url, output, tiers, speed, rate, period = sys.argv[1:]
tiers = orjson.loads(tiers)
session = LiveSession(
    Database(url), Path(output), tiers, replay_factory(list(tiers), float(speed), float(rate)),
    period=timedelta(seconds=float(period)), wait=True, log=lambda text: None,
    make_markets=markets_factory(load_settings()),
)
try:
    session.run()
except KeyboardInterrupt:
    pass
print(orjson.dumps({**session.metrics.counters(), "gap": session.metrics.longest_gap_seconds,
                    "latencies": session.metrics.latencies_ms()}).decode())
"""


def build_symbols(home: Path, prices: Path) -> dict[str, str]:
    """Ingest and build both symbols; return the environment for commands in this home folder."""
    environment = {**os.environ, "STRIKECAST_HOME": str(home)}
    environment.pop("STRIKECAST_DATABASE_URL", None)
    for symbol in TIERS:
        for arguments in (["ingest", symbol, str(price_file(prices, symbol))], ["build", symbol]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], env=environment, check=True)
    return environment


def start_session(
    database: Database,
    output: Path,
    tiers: dict[str, float] | None = None,
    *,
    speed: float = 1.0,
    rate: float = 1.0,
    period: float = 3600.0,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a live session with replayed prices; it waits while another one leads.

    `environment`: variables beside those of this process, for settings such as those of markets.
    """
    arguments = [database.url, str(output), orjson.dumps(tiers or TIERS).decode(), str(speed), str(rate), str(period)]
    variables = {**os.environ, **(environment or {})}
    return subprocess.Popen(
        [sys.executable, "-c", SESSION, *arguments], stdout=subprocess.PIPE, text=True, env=variables
    )


@contextmanager
def session(
    database: Database, output: Path, tiers: dict[str, float] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """As `start_session`; the session ends with the context."""
    child = start_session(database, output, tiers, **options)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def stop_session(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Interrupt a session; return the metrics that it prints."""
    child.send_signal(signal.SIGINT)
    text, _ = child.communicate(timeout=30)
    metrics: dict[str, Any] = orjson.loads(text.splitlines()[-1])
    return metrics


def written_at(path: Path) -> float | None:
    """When a file was written (Unix time); None while there is no file."""
    try:
        return path.stat().st_mtime_ns / 1e9
    except FileNotFoundError:
        return None


def watch_replacements(path: Path, until: Callable[[], bool]) -> list[float]:
    """The Unix time of each replacement of a file."""
    instants: list[float] = []
    while not until():
        at = written_at(path)
        if at is not None and (not instants or at != instants[-1]):
            instants.append(at)
        time.sleep(0.002)
    return instants


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until a condition is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was not met within {seconds:g} s")
        time.sleep(0.005)


def wait_for_price(path: Path, price: float) -> None:
    """Wait until a file shows a price, at a resolution of 0.2 ms. Raises TimeoutError."""
    seen = None
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            state = path.stat().st_ino, path.stat().st_mtime_ns
        except FileNotFoundError:
            state = None
        if state != seen:
            seen = state
            if orjson.loads(path.read_bytes())["current_price"] == price:
                return
        time.sleep(0.0002)
    raise TimeoutError(f"{path} did not show {price} within 60 s")


def session_number(path: Path) -> int:
    """The session that wrote a file."""
    return int(orjson.loads(path.read_bytes())["session"])


def time_calls(call: Callable[[int], object], repeats: int) -> list[float]:
    """Duration of each call in seconds."""
    samples = []
    for i in range(repeats):
        started = time.perf_counter()
        call(i)
        samples.append(time.perf_counter() - started)
    return samples
