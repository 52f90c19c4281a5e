"""A home folder with any number of symbols: real histories of BTC and ETH, and copies of them under other names.

The first symbols are ingested and built by the public commands; further ones are copied within the database, with the
events of their runs, because building each of 200 would take half an hour. Of a copy's momentum lookup only the rows
of ten buckets of 61 are stored, which saves 37 MB each: its size at 200 symbols is known from those that are built.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import psutil
import psycopg

from pipelines.atomic_files import atomic_write
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer

#: Days of the newest history that are left for daily increments.
DAYS_LEFT = 14
TIERS_USD = (250.0, 20.0)
COPIED: Mapping[str, Any] = {
    "scale_runs": "SELECT 1 FROM runs WHERE partition = %s",
    "scale_symbol": "SELECT 1 FROM analytics.active_generation WHERE symbol = %s",
}
INGEST = """
import sys
from pathlib import Path
from pipelines.service.builds import ingest_files
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings
with prepared_instance(load_settings()):
    for path in map(Path, sys.argv[1:]):
        ingest_files(path.name.split("_")[0].upper(), [path], lambda text: None)
"""


UPDATE = """
import sys
import dagster as dg
from pipelines.definitions import defs
from pipelines.orchestration.symbol_updates import update_requests
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings
with prepared_instance(load_settings()), dg.DagsterInstance.get() as instance:
    for request in update_requests(sys.argv[1:], "files"):
        job = defs.resolve_job_def("update_symbols")
        job.execute_in_process(run_config=request.run_config, instance=instance, raise_on_error=False)
"""


def symbol_names(count: int) -> list[str]:
    """BTC, ETH, C003, C004, ..."""
    return [*("BTC", "ETH"), *(f"C{number:03d}" for number in range(3, count + 1))][:count]


def original_of(symbol: str) -> str:
    """Whose bars a symbol has: those of BTC and ETH in turn."""
    return symbol if symbol in ("BTC", "ETH") else ("BTC", "ETH")[1 - int(symbol[1:]) % 2]


def price_factor(symbol: str) -> float:
    """By which a symbol's prices are multiplied: an ingestion refuses the prices of another symbol.

    >>> price_factor("ETH"), round(price_factor("C003"), 4)
    (1.0, 1.03)
    """
    return 1.0 if symbol in ("BTC", "ETH") else float(1.03 ** ((int(symbol[1:]) - 1) // 2))


@dataclass(frozen=True)
class Used:
    """Elapsed seconds of a command, and CPU seconds of its processes and of the server."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class ScaleHome:
    """The home folder, the folder of the two price files, the days of history of a symbol, and the folder of the
    probability files.
    """

    folder: Path
    prices: Path
    days: int
    output: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of commands on this home folder."""
        variables = {**os.environ, "STRIKECAST_HOME": str(self.folder), "STRIKECAST_PRICES": str(self._files)}
        variables.pop("STRIKECAST_DATABASE_URL", None)
        return variables

    def state(self) -> dict[str, Any]:
        """`symbols`: how many there are; `day`: daily increments so far; `results` by number of symbols."""
        path = self.folder / "scale.json"
        return orjson.loads(path.read_bytes()) if path.exists() else {"symbols": 0, "day": 0, "results": {}}

    def save(self, state: Mapping[str, Any]) -> None:
        """Store the state."""
        with atomic_write(self.folder / "scale.json") as partial:
            partial.write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))

    @contextmanager
    def server(self) -> Iterator[Database]:
        """The home folder's embedded server, running."""
        with EmbeddedServer(self.folder / "postgres").running() as url:
            yield Database(url)

    def run(self, *arguments: str) -> Used:
        """Run a strikecast command. Raises CalledProcessError when it fails."""
        return self._run([sys.executable, "-m", "pipelines.cli", *arguments])

    def _run(self, command: Sequence[str]) -> Used:
        with self.server(), (self.folder / "commands.log").open("ab") as log:
            cpu_seconds, began = self._cpu_seconds(), time.monotonic()
            subprocess.run(command, env=self.environment, check=True, stdout=log, stderr=log)
            return Used(time.monotonic() - began, self._cpu_seconds() - cpu_seconds)

    def _cpu_seconds(self) -> float:
        """CPU seconds so far of the commands that have ended and of the server with its processes."""
        commands = resource.getrusage(resource.RUSAGE_CHILDREN)
        number = (self.folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0]
        server = psutil.Process(int(number))
        found = commands.ru_utime + commands.ru_stime + sum(server.cpu_times()[:4])  # of itself and of ended ones
        for process in server.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += sum(process.cpu_times()[:2])
        return found

    def configure(self, symbols: Sequence[str]) -> None:
        """Write the settings file, with these symbols and no others."""
        lines = [f'output = "{self.output}"']
        if "ETH" not in symbols:
            lines += ["[symbols.ETH]", "enabled = false"]
        for symbol in symbols[2:]:
            tier_usd = TIERS_USD[original_of(symbol) == "ETH"]
            lines += [f"[symbols.{symbol}]", f"strike_tier_usd = {tier_usd}"]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "strikecast.toml").write_text("\n".join([*lines, ""]))

    def ingest(self, symbols: Sequence[str], first_day: int, last_day: int) -> Used:
        """Ingest a range of days of each symbol, from a file of each, in one process; day 0 is the first increment."""
        self._write_files(symbols, first_day, last_day)
        paths = (str(self._files / f"{symbol.lower()}_1m.parquet") for symbol in symbols)
        return self._run([sys.executable, "-c", INGEST, *paths])

    def increment(self, symbols: Sequence[str], day: int) -> Used:
        """A new day of each symbol, ingested and built by two runs of `update_symbols` at a time, as Dagster has it.

        A copy fails in the week when its momentum is built anew: scaled prices can move one of its buckets.
        """
        self._write_files(symbols, day, day + 1)
        halves = [half for half in (symbols[::2], symbols[1::2]) if half]
        with ThreadPoolExecutor(2) as executor:
            used = list(executor.map(lambda half: self._run([sys.executable, "-c", UPDATE, *half]), halves))
        return Used(max(one.seconds for one in used), max(one.cpu_seconds for one in used))

    @property
    def _files(self) -> Path:
        return self.folder / "files"

    def _write_files(self, symbols: Sequence[str], first_day: int, last_day: int) -> None:
        self._files.mkdir(exist_ok=True)
        for symbol in symbols:
            bars = pl.scan_parquet(self.prices / f"{original_of(symbol).lower()}_1m.parquet")
            zero = pl.col("timestamp").max() - timedelta(days=DAYS_LEFT)
            first, last = (zero + timedelta(days=day) for day in (first_day, last_day))
            prices = (pl.col("open", "high", "low", "close") * price_factor(symbol)).round(6)
            chosen = bars.filter(pl.col("timestamp") > first, pl.col("timestamp") <= last)
            chosen.with_columns(prices).collect().write_parquet(self._files / f"{symbol.lower()}_1m.parquet")

    def copy(self, symbols: Sequence[str], log: Callable[[str], None]) -> None:
        """Copy BTC and ETH to other symbols, on two connections."""
        with self.server() as database, ThreadPoolExecutor(2) as executor:
            for symbol in executor.map(lambda symbol: _copy(database, symbol), symbols):
                log(symbol)
                self.save({**self.state(), "symbols": symbol_names(999).index(symbol) + 1})


def _copy(database: Database, symbol: str) -> str:
    names = {"old": original_of(symbol), "new": symbol, "factor": price_factor(symbol)}
    for url, file in ((database.url_for("dagster"), "scale_runs"), (database.url, "scale_symbol")):
        with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute("SET timezone = 'UTC'; SET synchronous_commit = off")
            copied = connection.execute(COPIED[file], [symbol]).fetchone()
            statements: Any = Path(__file__).with_name(f"{file}.sql").read_text()
            if copied is None:  # an interrupted copy goes on where it ended
                connection.execute(statements, names)
    return symbol
