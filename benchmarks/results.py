"""Results of benchmarks: timing, percentiles, and how they are printed and saved."""

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
class Result:
    """One row of the table: a measurement, its reference, its target, and whether the target is met."""

    benchmark: str
    measured: str
    reference: str
    target: str
    met: bool
    raw: dict[str, Any] = field(default_factory=dict)


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest duration of several runs, in seconds: the one with the least interference."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def percentiles_ms(samples: list[float]) -> dict[str, float]:
    """p50, p95, p99 and maximum in milliseconds, of samples in seconds."""
    ms = np.array(samples) * 1000
    return {f"p{p}_ms": round(float(np.percentile(ms, p)), 3) for p in (50, 95, 99)} | {
        "max_ms": round(float(ms.max()), 3)
    }


def machine() -> dict[str, str]:
    """CPU, cores, Python version and operating system of this machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def print_and_save(results: Sequence[Result], reference: str, path: Path, source: str) -> None:
    """Print results as a Markdown table and save them as JSON.

    `reference` is the heading of the third column; `source` names the bars that were used.
    """
    print(f"| benchmark | measured | {reference} | target | met |", "|---|---|---|---|---|", sep="\n")
    for result in results:
        met = "yes" if result.met else "**no**"
        print(f"| {result.benchmark} | {result.measured} | {result.reference} | {result.target} | {met} |")
    print(f"\n{source}")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "prices": source, "results": [asdict(result) for result in results]}
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def replace_between_markers(path: Path, markers: tuple[str, str], text: str) -> None:
    """Replace the text between two markers in a file."""
    before, rest = path.read_text().split(markers[0])
    path.write_text(f"{before}{markers[0]}\n{text}\n{markers[1]}{rest.split(markers[1])[1]}")
