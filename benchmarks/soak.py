"""Make faults in a running system at random: `python -m benchmarks.soak [--minutes 60] [--write FILE]`.

`strikecast up` runs with a hot standby, on a small disk of its own (a tmpfs, so this needs root), and with a separate
producer of ten prices a second and symbol. The faults of `benchmarks.soak_faults` follow each other in random order.
The result has, for each kind, the time until it was noticed and over. At the end, every acknowledged tick must be
stored.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.results import replace_between_markers
from benchmarks.soak_faults import faults
from benchmarks.soak_system import LIMIT_SECONDS, Soak

MARKS = "<!-- soak -->", "<!-- /soak -->"
DISK_SIZE = "3g"
SETTINGS = """
[alerts]
least_free_pct = 5
least_free_gibibytes = 0.1
urls = ["{url}"]
"""


def _seconds(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"**{len(values) - len(known)} never**"
    return f"{median(known):.1f} / {max(known):.1f}"


def report(soak: Soak, minutes: float) -> str:
    """The claims and the faults by kind, as Markdown."""
    lost = soak.lost()
    lines = [
        (
            f"{datetime.now(UTC):%Y-%m-%d}, {minutes:g} minutes, {soak.rate:g} ticks a second and symbol, "
            f"{len(soak.occurrences)} faults."
        ),
        "",
        "| claim | measured | holds |",
        "|---|---|---|",
    ]
    lines += [f"| {claim} | {figure} | {'yes' if holds else '**no**'} |" for claim, figure, holds in soak.checks()]
    lines += [
        "",
        "Seconds, median / longest of each kind; `over` counts from the end of a fault that lasts.",
        "",
        "| fault | times | noticed after | bound | over after | bound | file not refreshed for | ticks lost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for fault in faults():
        found = [one for one in soak.occurrences if one.fault.name == fault.name]
        if not found:
            continue
        windows = [(one.at, one.ended_at + (one.over_after or LIMIT_SECONDS)) for one in found]
        missing = sum(any(start <= ms / 1000 <= end for start, end in windows) for ms in lost)
        noticed = "-" if fault.was_noticed is None else _seconds([one.noticed_after for one in found])
        lines.append(
            f"| {fault.name} | {len(found)} | {noticed} | {fault.notice_seconds or '-'} "
            f"| {_seconds([one.over_after for one in found])} | {fault.over_seconds} "
            f"| {max(soak.longest_gap(*window) for window in windows):.1f} | {missing} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prepare the system, make the faults, and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="ticks a second and symbol")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="put the result between the marks in this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strikecast-soak-") as folder, ExitStack() as stack:
        outside, disk = Path(folder), Path(folder) / "disk"
        disk.mkdir()
        outside.chmod(0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=755", "tmpfs", disk], check=True)
        stack.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=True))
        home = disk / "home"
        home.mkdir()
        environment = {
            **os.environ,
            "STRIKECAST_HOME": str(home),
            "STRIKECAST_FEED": "external",
            "STRIKECAST_HOT_STANDBY": "true",
            "COLUMNS": "300",
        }
        soak = Soak(home, outside, arguments.rate, random.Random(arguments.seed), environment)  # noqa: S311 (no secret)
        url = stack.enter_context(soak.receiving_alerts())
        (home / "strikecast.toml").write_text(SETTINGS.format(url=url))
        for command in (["sample", "BTC", "--days", "30"], ["sample", "ETH", "--days", "30"], ["build"]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *command], env=environment, check=True)
        soak.run(arguments.minutes)
        text = report(soak, arguments.minutes)
        print(text)
        for problem in soak.problems[:20]:
            print(problem)
    if arguments.write is not None:
        replace_between_markers(arguments.write, MARKS, text)


if __name__ == "__main__":
    main()
