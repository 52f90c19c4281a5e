"""Backup and restore drill of a two-symbol database, against bare pg_dump in the same run; prints rows of a table.

`python -m benchmarks.backup [--prices FOLDER] [--home FOLDER]` takes about nine minutes on two cores; a home
folder that has been filled before is used again.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import Result, machine
from pipelines.configuration.sections import BackupSettings
from pipelines.deployment import running_server
from pipelines.maintenance.backup import Backup, create_backup
from pipelines.maintenance.client_programs import client_environment, find_client_programs
from pipelines.maintenance.restore import Trust, run_drill
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import temporary_server_folder

ROUNDS = 2
#: pg_dump's own default for the custom format, and ours where it has no zstd.
METHODS = ("gzip:6", "gzip:1")


def fill(home: Path, arguments: argparse.Namespace) -> str:
    """Ingest and build two symbols, as a user would, unless it was done before; says of which bars they are."""
    filled = home / "filled"
    if filled.exists():
        return filled.read_text(encoding="utf-8")
    prices = chosen_prices(arguments)
    variables = {**os.environ, "STRIKECAST_HOME": str(home)}
    for symbol in ("BTC", "ETH"):
        for command in (["ingest", symbol, str(prices.of(symbol))], ["build", symbol]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *command], env=variables, check=True)
    filled.write_text(prices.source, encoding="utf-8")
    return prices.source


def bare_dump(database: Database, compression: str, target: Path) -> tuple[float, float]:
    """Seconds of pg_dump alone, and with a SHA-256 and a full reading after it, as a careful operator would."""
    programs = find_client_programs(database.server_major)
    began = time.perf_counter()
    with client_environment(database) as variables:
        subprocess.run(
            [
                programs / "pg_dump",
                "--format=custom",
                f"--compress={compression}",
                f"--role={Role.BACKUP}",
                "--no-password",
                f"--file={target}",
            ],
            env=variables,
            check=True,
        )
    dumped = time.perf_counter()
    subprocess.run(["sha256sum", target], stdout=subprocess.DEVNULL, check=True)
    subprocess.run([programs / "pg_restore", "--file=/dev/null", target], check=True)
    read = time.perf_counter()
    target.unlink()
    return dumped - began, read - began


def measure(database: Database, folder: Path, compression: str) -> tuple[Backup, dict[str, list[float]]]:
    """The last backup, and the seconds of each round: ours, its dump alone, pg_dump, pg_dump with reading."""
    seconds: dict[str, list[float]] = {"ours": [], "dump": [], "bare": [], "careful": []}
    for number in range(ROUNDS):
        began, began_at = time.perf_counter(), time.time()
        made = create_backup(
            database, folder / f"backups {compression} {number}", BackupSettings(compression=compression)
        )
        seconds["ours"].append(time.perf_counter() - began)
        seconds["dump"].append(made.dump.stat().st_mtime - began_at)  # its last byte
        dumped, read = bare_dump(database, compression, folder / "bare.dump")
        seconds["bare"].append(dumped)
        seconds["careful"].append(read)
    return made, seconds


def figures(home: Path) -> list[Result]:
    """A backup of each method, and a drill, on a filled home folder."""
    settings = load_settings(home=home)
    with (
        temporary_server_folder("strikecast-bench-") as scratch,
        running_server(settings) as database,
    ):
        backups = [_backup(*measure(database, Path(scratch), method)) for method in METHODS]
        made = create_backup(database, Path(scratch))
        done = run_drill(settings, database, made, datetime.now(UTC), trust=Trust(None, unsigned=True))
    return [
        *backups,
        Result(
            f"restore drill of it: {done.tables} tables, {done.rows:,} rows, {done.ladders} ladders",
            f"{done.seconds:.1f} s, {len(done.differences)} differences",
            "-",
            "under 120 s, 0 differences",
            done.seconds < 120 and not done.differences,
            {"seconds": done.seconds},
        ),
    ]


def _backup(made: Backup, seconds: dict[str, list[float]]) -> Result:
    ours, dump, bare, careful = (min(seconds[name]) for name in ("ours", "dump", "bare", "careful"))
    size = f"{made.manifest.server_size_bytes / 1e6:,.0f} MB, {made.manifest.rows:,} rows, {made.manifest.compression}"
    return Result(
        f"backup of two symbols ({size}): dumped, every table counted and hashed, read back, SHA-256",
        f"{ours:.2f} s, of which until the dump is written {dump:.2f} s; {made.manifest.bytes / 1e6:,.0f} MB",
        f"pg_dump alone {bare:.2f} s: ours takes {ours / bare:.2f} times that, until its dump is written "
        f"{dump / bare:.2f} times; pg_dump, then sha256sum and pg_restore to /dev/null {careful:.2f} s "
        f"({ours / careful:.2f} times)",
        "within 10 % of pg_dump",
        ours <= 1.1 * bare,
        seconds,
    )


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backup", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--home", type=Path, help="keep the filled database here, and use it again")
    arguments = parser.parse_args()
    with temporary_server_folder("strikecast-bench-") as folder:
        home: Path = arguments.home or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        source = fill(home, arguments)
        for f in figures(home):
            met = "yes" if f.met else "**no**"
            print(f"| {f.benchmark} | {f.measured} | {f.reference} | {f.target} | {met} |\n  {f.raw}")
    print(source, *(f"{name} {value}" for name, value in machine().items()), sep=", ")


if __name__ == "__main__":
    main()
