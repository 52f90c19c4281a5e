"""Cost of audits, and latency of the live session meanwhile: `python -m benchmarks.audit [--prices FOLDER]`.

Full audits run as an operator starts them, quick ones as the schedule does, each in a process of its own, while ticks
are inserted one after the other. About four minutes on an idle machine.
"""

import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.latency_under_load import QUIET_SECONDS, compare, probed_session, run_benchmark
from benchmarks.live_processes import build_symbols
from benchmarks.results import Result, percentiles_ms
from pipelines.domain.monitoring.audit.findings import Audit
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings
from pipelines.storage.monitoring.audits import find_audit, read_audit
from pipelines.storage.postgres.connection import Database, Role

REPEATS = 5
HOUR_SECONDS = 3_600.0
#: As the schedule runs it: the process loads Dagster and the project first.
SCHEDULED = [
    sys.executable,
    "-m",
    "dagster",
    "asset",
    "materialize",
    "--select",
    "audit",
    "-m",
    "pipelines.definitions",
]


def measure(home: Path, prices: Path) -> list[Result]:
    """Build both symbols from their price files, then insert ticks while audits run."""
    environment = build_symbols(home, prices)
    os.environ["STRIKECAST_HOME"] = str(home)
    with prepared_instance(load_settings()) as database, probed_session(database, home / "bench") as probe:
        quiet = probe.measure_for(QUIET_SECONDS)
        busy, full = [], []
        for _ in range(REPEATS):
            busy += probe.measure_during_command(environment, "audit", "run", "--full", "--as", "prometheus")
            full.append(_newest(database))
        busy_loop = percentiles_ms(probe.measure_during_busy_loop(QUIET_SECONDS))
        quiet += probe.measure_for(QUIET_SECONDS)
        quick, scheduled, spent = [], [], []
        for _ in range(REPEATS):
            seconds, used = _timed(SCHEDULED)
            audit = _newest(database)
            quick.append(_seconds(audit))
            scheduled.append(seconds)
            spent.append(used + _server_cpu(audit))
    latency = compare("full audits run", busy, quiet, 1.5)
    of_an_hour = 100.0 * max(spent) / HOUR_SECONDS
    raw = {"quick": quick, "scheduled": scheduled, "cpu": spent, "full": [_seconds(one) for one in full]}
    return [
        Result(
            f"quick audit ({REPEATS} times)",
            f"longest {max(quick):.1f} s; as a scheduled run, with the start of its process, {max(scheduled):.1f} s",
            "-",
            "under 5 s",
            max(quick) < 5.0,
            raw,
        ),
        Result(
            "CPU time of a quick audit as a scheduled run, including the server's part",
            f"at most {max(spent):.1f} s: {of_an_hour:.2f} % of a core averaged over the hour",
            "-",
            "under 1 % of a core",
            of_an_hour < 1.0,
            {},
        ),
        Result(
            f"full audit ({REPEATS} times)",
            f"longest {max(raw['full']):.1f} s, of which 10 s watch processes; "
            f"{full[-1].cpu_seconds + _server_cpu(full[-1]):.1f} s of CPU time",
            "-",
            "under 60 s",
            max(raw["full"]) < 60.0,
            {},
        ),
        replace(
            latency,
            reference=f"{latency.reference}; during a busy loop in Linux's idle class: p50 "
            f"{busy_loop['p50_ms']}, p99 {busy_loop['p99_ms']}",
            raw=latency.raw | {"busy_loop": busy_loop},
        ),
    ]


def _newest(database: Database) -> Audit:
    with database.connect("bench", Role.READER) as connection:
        return read_audit(connection, find_audit(connection))


def _seconds(audit: Audit) -> float:
    return (audit.finished_at - audit.started_at).total_seconds()


def _server_cpu(audit: Audit) -> float:
    """CPU seconds of the server's processes for the audit."""
    return sum(one.value for one in audit.measurements if one.name == "audit_cpu" and one.labels["of"] == "server")


def _timed(command: list[str]) -> tuple[float, float]:
    """Elapsed and CPU seconds of a command."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before, began = used(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began, used() - before


if __name__ == "__main__":
    run_benchmark("audit", __doc__, measure)
