"""What an idle system costs: `python -m benchmarks.idle [--seconds 120] [--home FOLDER] [--json FILE]`.

`strikecast up` with two symbols of replayed prices and its embedded server, one minute after both probability files
exist: CPU time of all processes over the window, from /proc, with that of processes that ended in it, and their memory
at its end. PSS counts shared memory once, so that it can be added up; RSS counts it in each process. An idle system
wakes up and sleeps again, which can cost several times as much where a virtual machine's host is busy: the yardstick,
in the same window, is this process, which wakes 100 times a second. The window avoids the minutes of hourly schedules
and of the hand-over. About eight minutes, with `--home` of an earlier call four.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.live_processes import TIERS, wait_for, written_at
from benchmarks.results import Result, print_and_save
from pipelines.deployment import configured_database
from pipelines.live.probability_writer import probabilities_path
from pipelines.monitoring.audit.processes import inventory
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.embedded import temporary_server_folder

ROOT = Path(__file__).parents[1]
DAYS = 180
WARM_UP_SECONDS = 60.0
#: Minutes of an hour in which sessions hand over (59 to 0), or hourly schedules start runs (5 and 40).
BUSY_MINUTES = frozenset({0, 1, 5, 6, 40, 41, 42, 58, 59})
#: A second, of the yardstick.
WAKE_UPS = 100
#: Of all processes: percent of a core, and PSS in MB.
MAX_CPU_PCT, MAX_PSS_MB = 4.0, 550.0


@dataclass(frozen=True)
class Usage:
    """CPU time in seconds: of the process itself, and of its children that have ended and been waited for."""

    own: float
    ended_children: float


def usage(process: psutil.Process) -> Usage:
    """CPU time of a process since its start."""
    times = process.cpu_times()
    return Usage(times.user + times.system, times.children_user + times.children_system)


def build(environment: Mapping[str, str]) -> None:
    """Generate and build both symbols, unless they are there already."""
    commands = [["sample", symbol, "--days", str(DAYS)] for symbol in TIERS]
    for command in (*commands, ["build"]):
        subprocess.run([sys.executable, "-m", "pipelines.cli", *command], env=environment, check=True)


@contextmanager
def running(settings: Settings, environment: Mapping[str, str]) -> Iterator[None]:
    """`strikecast up`, until both probability files are written."""
    command = [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"]
    with (settings.home / "up.log").open("wb") as output:
        began = time.time()
        up = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            paths = [probabilities_path(settings.output_dir, symbol) for symbol in TIERS]
            wait_for(lambda: all((written_at(path) or 0.0) > began for path in paths), 240)
            yield
        finally:
            up.terminate()
            up.wait()


def wait_until_quiet(seconds: float) -> None:
    """Wait until no minute of the next `seconds` is one of BUSY_MINUTES."""

    def is_quiet() -> bool:
        now = datetime.now(UTC)
        minutes = range(int(seconds // 60) + 2)
        return BUSY_MINUTES.isdisjoint((now + timedelta(minutes=one)).minute for one in minutes)

    while not is_quiet():
        time.sleep(5)


def processes(settings: Settings) -> dict[psutil.Process, str]:
    """All processes of the system and of its server, with their roles."""
    with configured_database(settings).connect("benchmark", None) as connection:
        found = dict(inventory(settings, connection).roles)
        found.pop(psutil.Process(connection.info.backend_pid), None)
    return found


def sleep_restlessly(seconds: float) -> float:
    """Sleep, and wake WAKE_UPS times a second; the share of a core that this took, in percent."""
    end, used = time.monotonic() + seconds, time.process_time()
    while time.monotonic() < end:
        time.sleep(1 / WAKE_UPS)
    return 100 * (time.process_time() - used) / seconds


def measure(settings: Settings, seconds: float) -> list[Result]:
    """One row per role, and the totals. CPU time of processes that ended counts for the role of their parent."""
    before = {process: usage(process) for process in processes(settings)}
    began = time.monotonic()
    yardstick = sleep_restlessly(seconds)
    after, cpu = processes(settings), defaultdict[str, float](float)
    elapsed = time.monotonic() - began
    memory: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for process, role in after.items():
        with suppress(psutil.NoSuchProcess):
            now, then = usage(process), before.get(process, Usage(0.0, 0.0))
            sizes = process.memory_full_info()
            cpu[role] += now.own - then.own
            cpu[f"{role}: ended children"] += now.ended_children - then.ended_children
            for place, value in enumerate((1.0, sizes.pss / 1e6, sizes.rss / 1e6)):
                memory[role][place] += value
    # What they had used before the window is in their parents' counters by now.
    earlier = sum(one.own + one.ended_children for process, one in before.items() if process not in after)
    results = [
        Result(
            f"{role} ({memory[role][0]:.0f})" if role in memory else role,
            f"{100 * cpu[role] / elapsed:.2f} %, {memory[role][1]:.1f} MB",
            f"{memory[role][2]:.1f} MB",
            "-",
            True,
        )
        for role in sorted(cpu, key=lambda one: -cpu[one])
        if cpu[role] or role in memory
    ]
    share = 100 * (sum(cpu.values()) - earlier) / elapsed
    pss, rss = (sum(sizes[place] for sizes in memory.values()) for place in (1, 2))
    target = f"under {MAX_CPU_PCT:g} % of a core and {MAX_PSS_MB:g} MB"
    met = share < MAX_CPU_PCT and pss < MAX_PSS_MB
    raw = {"cpu_pct": share, "pss_mb": pss, "rss_mb": rss, "seconds": elapsed, "yardstick_pct": yardstick}
    count = sum(sizes[0] for sizes in memory.values())
    return [
        *results,
        Result(f"a process that wakes {WAKE_UPS} times a second", f"{yardstick:.2f} %", "-", "-", True),
        Result(f"all ({count:.0f})", f"{share:.2f} %, {pss:.1f} MB", f"{rss:.1f} MB", target, met, raw),
    ]


def main() -> None:
    """Run the benchmark; print and save the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the window")
    parser.add_argument("--home", type=Path, help="home folder to keep and to use again, by default a temporary one")
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "idle.json", help="output file")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = arguments.home or stack.enter_context(temporary_server_folder("strikecast-bench-"))
        environment = {**os.environ, "STRIKECAST_HOME": str(home)}
        environment.pop("STRIKECAST_DATABASE_URL", None)
        os.environ.pop("STRIKECAST_DATABASE_URL", None)
        if not (home / "postgres").exists():
            build(environment)
        settings = load_settings(home=home)
        with running(settings, environment):
            time.sleep(WARM_UP_SECONDS)
            wait_until_quiet(arguments.seconds)
            results = measure(settings, arguments.seconds)
    print_and_save(
        results, "RSS", arguments.json, f"measured with {DAYS} generated days of each symbol; MB in `measured` are PSS"
    )


if __name__ == "__main__":
    main()
