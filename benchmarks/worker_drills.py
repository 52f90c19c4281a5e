"""Drills of runs on workers: `python -m benchmarks.worker_drills [DRILL ...] [--json FILE]`; needs root.

A host and two workers run in network namespaces, with RabbitMQ, Redis and PostgreSQL of their own. Each drill makes a
fault while small builds run, and measures how long it took until it was noticed and until its build was published. A
drill holds if each build ended published once, or failed or canceled with its reason, and no slot stayed in use.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.results import machine
from benchmarks.worker_faults import DRILLS, Outcome
from benchmarks.worker_host import SMALL_MODEL, running_host
from benchmarks.worker_network import VARIABLE, run_in_namespaces, services
from pipelines.storage.postgres.embedded import temporary_server_folder

SYMBOLS = [f"S{number:02}" for number in range(1, 5)]


def row(outcome: Outcome) -> str:
    """A row of the table."""
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in outcome.seconds.items())
    ends = ", ".join(f"{count} {end}" for end, count in sorted(outcome.ends.items()))
    return f"| {outcome.drill} | {seconds} | {ends} | {'; '.join(outcome.problems) or 'yes'} |"


def main() -> int:
    """Run the drills; returns 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_drills", description=__doc__)
    parser.add_argument("drills", nargs="*", metavar="DRILL", help=f"{', '.join(DRILLS)}; by default all")
    parser.add_argument("--json", type=Path, default=Path(".benchmarks/worker_drills.json"))
    parser.add_argument("--days", type=int, default=30, help="days of synthetic bars of each symbol")
    arguments = parser.parse_args()
    names = arguments.drills or list(DRILLS)
    if unknown := [name for name in names if name not in DRILLS]:
        parser.error(f"no such drill: {', '.join(unknown)}; there are {', '.join(DRILLS)}")
    if VARIABLE not in os.environ:
        return run_in_namespaces("benchmarks.worker_drills", sys.argv[1:])
    loads, outcomes = [os.getloadavg()[0]], []
    with (
        temporary_server_folder("strikecast-drills-") as folder,
        services(folder) as running,
        running_host(folder, running, SYMBOLS, model=SMALL_MODEL, days=arguments.days) as host,
    ):
        for name in names:
            outcome = Outcome(name)
            try:
                DRILLS[name](host, outcome)
            except Exception as error:  # noqa: BLE001 (the other drills go on, and the table has the error)
                outcome.problems.append(f"{type(error).__name__}: {error}")
                logs = [worker.log.read_text(errors="replace")[-600:] for worker in host.workers[-2:]]
                outcome.notes += [*logs, (folder / "up.log").read_text(errors="replace")[-1_000:]]
            host.stop_workers()
            loads.append(os.getloadavg()[0])
            outcomes.append(outcome)
            print(time.strftime("%H:%M:%S"), row(outcome), *outcome.notes, sep="\n  ", flush=True)
    print("| drill | from the fault | builds | holds |", "|---|---|---|---|", sep="\n")
    print(*map(row, outcomes), sep="\n")
    print(f"\nLoad {min(loads):.0f} to {max(loads):.0f}.")
    content: dict[str, Any] = {"machine": machine(), "loads": loads, "drills": outcomes}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
