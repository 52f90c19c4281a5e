"""Latency of the live session when the prices of all symbols change at once, quiet and while builds run."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks.live_processes import wait_for
from benchmarks.results import percentiles_ms
from benchmarks.scale_home import ScaleHome
from pipelines.atomic_files import file_signature
from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.statements import Statements

WARM_UP_SECONDS = 5.0
POLL_SECONDS = 0.004
START_SECONDS = 300.0
SQL = Statements(__name__)
SESSION = """
import sys, orjson
from pathlib import Path
from pipelines.live.feeds.base import Feed
from pipelines.live.session import LiveSession
from pipelines.storage.postgres.connection import Database
LiveSession(Database(sys.argv[1]), Path(sys.argv[2]), dict.fromkeys(sys.argv[3:], 250.0), lambda _: Feed()).run()
"""


class AllSymbolsProbe:
    """Inserts a price of every symbol in one statement each second, and waits for all files to show it."""

    def __init__(self, connection: Connection, output: Path, symbols: Sequence[str]) -> None:
        self._connection, self._symbols = connection, list(symbols)
        self._paths = {symbol: probabilities_path(output, symbol) for symbol in symbols}
        self._prices = count(100_000)

    def rounds_while(self, condition: Callable[[], bool]) -> list[float]:
        """Seconds from the commit of the prices to the renaming of each file, while a condition holds."""
        samples: list[float] = []
        while condition():
            began = time.monotonic()
            samples += self._round()
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
        return samples

    def rounds_for(self, seconds: float) -> list[float]:
        """As `rounds_while`, for so many seconds."""
        end = time.monotonic() + seconds
        return self.rounds_while(lambda: time.monotonic() < end)

    def insert_past(self) -> None:
        """Insert a price of each minute of the last half hour."""
        now = datetime.now(UTC)
        for day in {now.date(), (now - timedelta(minutes=40)).date()}:
            self._connection.execute(SQL["create_day_partition"], [day])
        self._connection.execute(SQL["insert_past"], [now, 100_000.0, self._symbols])

    def _round(self) -> list[float]:
        price = float(next(self._prices))
        waiting = {symbol: file_signature(path) for symbol, path in self._paths.items()}
        self._connection.execute(SQL["insert_prices"], [datetime.now(UTC), price, self._symbols])
        committed, samples = time.perf_counter(), []
        while waiting:
            time.sleep(POLL_SECONDS)
            for symbol in list(waiting):
                path = self._paths[symbol]
                signature = file_signature(path)
                if signature == waiting[symbol]:
                    continue
                waiting[symbol] = signature
                # Until the name is looked up, the file is the newest; its own time is that of its writing.
                if orjson.loads(path.read_bytes())["current_price"] == price:
                    samples.append(time.perf_counter() - committed)
                    del waiting[symbol]
            if time.perf_counter() - committed > 30:
                raise TimeoutError(f"{len(waiting)} files did not show the price within 30 s: {sorted(waiting)[:5]}")
        return samples


def live_refresh(home: ScaleHome, database: Database, symbols: Sequence[str], seconds: float) -> dict[str, float]:
    """Percentiles, CPU and memory of a session of all symbols, quiet and while two builds run, for `seconds` each.

    A round takes a second or more; 200 symbols give 10,000 samples in a minute.
    """
    output = home.output / "bench"
    shutil.rmtree(output, ignore_errors=True)
    child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output), *symbols])
    builders = _Builders(home, symbols)
    try:
        with database.connect("bench", Role.LIVE, autocommit=True) as connection:
            probe = AllSymbolsProbe(connection, output, symbols)
            probe.insert_past()
            wait_for(lambda: all(probabilities_path(output, symbol).exists() for symbol in symbols), START_SECONDS)
            probe.rounds_for(WARM_UP_SECONDS)
            process = psutil.Process(child.pid)
            cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
            quiet = probe.rounds_for(seconds / 2)
            share = 100 * (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - began)
            builders.start()
            busy = probe.rounds_for(seconds)
            built = builders.stop()
            quiet += probe.rounds_for(seconds / 2)
            rss_mb = process.memory_info().rss / 1e6
    finally:
        builders.stop()
        child.terminate()
        child.wait()
    calm, loaded = percentiles_ms(quiet), percentiles_ms(busy)
    names = ("p50_ms", "p95_ms", "p99_ms")
    return {
        **{f"quiet_{name}": calm[name] for name in names},
        **{f"building_{name}": loaded[name] for name in names},
        "p99_ratio": loaded["p99_ms"] / calm["p99_ms"],
        "samples": len(quiet),
        "builds": built,
        "session_cpu_percent": share,
        "session_rss_mb": rss_mb,
    }


class _Builders:
    """Two processes that build the first symbols again and again."""

    def __init__(self, home: ScaleHome, symbols: Sequence[str]) -> None:
        self._home = home
        self._halves = [half for half in (symbols[0:8:2], symbols[1:8:2]) if half]
        self._children: list[subprocess.Popen[Any]] = []
        self._log = home.folder / "builds.log"

    def start(self) -> None:
        """Start them."""
        with self._log.open("wb") as log:
            for half in self._halves:
                build = shlex.join([sys.executable, "-m", "pipelines.cli", "build", *half])
                command = ["sh", "-c", f"while {build}; do :; done"]
                self._children.append(
                    subprocess.Popen(command, env=self._home.environment, stdout=log, stderr=log, process_group=0)
                )

    def stop(self) -> int:
        """Interrupt them; how many builds were published."""
        for child in self._children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
            child.wait()
        self._children.clear()
        return self._log.read_text().count(" active_standardised_generation ") if self._log.exists() else 0
