"""How a figure is written down."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, what beside, whether the aim was reached."""

    what: str
    measured: str
    yardstick: str
    aim: str
    reached: bool
    raw: dict[str, Any] = field(default_factory=dict)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The best of some runs, in seconds: what the work takes when nothing else disturbs."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def percentiles_ms(samples: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest of samples in seconds, in milliseconds."""
    ms = np.array(samples) * 1000
    return {f"p{p}_ms": round(float(np.percentile(ms, p)), 3) for p in (50, 95, 99)} | {
        "max_ms": round(float(ms.max()), 3)
    }


def machine() -> dict[str, str]:
    """The machine that measured."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def report(figures: Sequence[Figure], yardstick: str, path: Path, source: str) -> None:
    """Print figures as a table, whose third column is headed by what stands there, and write them as JSON.

    `source` says on which bars they were measured.
    """
    print(f"| what | measured | {yardstick} | to reach | reached |", "|---|---|---|---|---|", sep="\n")
    for one in figures:
        print(f"| {one.what} | {one.measured} | {one.yardstick} | {one.aim} | {'yes' if one.reached else '**no**'} |")
    print(f"\n{source}")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "prices": source, "figures": [asdict(one) for one in figures]}
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def write_between(path: Path, marks: tuple[str, str], text: str) -> None:
    """Put a text in the place of what stands between two marks in a file."""
    before, rest = path.read_text().split(marks[0])
    path.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1])[1]}")
