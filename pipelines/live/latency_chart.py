"""Chart of a session's latencies: `python -m pipelines.live.latency_chart` reads JSON from stdin and writes a PNG."""

import io
import sys
from datetime import UTC, datetime, timedelta
from math import log10
from typing import Any

import orjson
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

#: Percentiles on an axis on which each nine is as wide as the one before.
NINES = [(0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99")]
MINUTE = timedelta(minutes=1)
COLOURS = {"feed": "#9b59b6", "read": "#3a9a5b", "compute": "#2f7ed8", "write": "#e07b39", "total": "#444444"}


def draw(data: dict[str, Any]) -> bytes:
    """Left: milliseconds by percentile, one line per stage. Right: p50, p99 and maximum of each minute (UTC)."""
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    by_percentile, by_minute = figure.subplots(1, 2)
    for stage, curve in data["curves"].items():
        at = [_place(percentile) for percentile, _ in curve]
        by_percentile.plot(at, [max(ms, 1e-3) for _, ms in curve], label=stage, color=COLOURS[stage], linewidth=1.2)
    by_percentile.set(yscale="log", xlabel="percentile", ylabel="ms", title="by stage")
    by_percentile.set_xticks([_place(percentile) for percentile, _ in NINES], [name for _, name in NINES])
    by_percentile.legend(fontsize=7, frameon=False)
    times = [datetime.fromtimestamp(row[0], UTC) for row in data["minutes"]]
    for column, (name, colour) in enumerate((("p50", "#2f7ed8"), ("p99", "#e07b39"), ("max", "#bbbbbb")), start=1):
        by_minute.plot(times, [row[column] for row in data["minutes"]], ".-", label=name, color=colour, linewidth=1.0)
    by_minute.set(yscale="log", title="arrival to file, by minute (UTC)")
    if times:  # or a first minute would be stretched to years
        by_minute.set_xlim(times[0] - MINUTE, max(times[-1] + MINUTE, times[0] + 9 * MINUTE))
    by_minute.xaxis.set_major_locator(AutoDateLocator(maxticks=6))  # type: ignore[no-untyped-call]
    by_minute.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
    by_minute.tick_params(axis="x", labelsize=7)
    by_minute.legend(fontsize=7, frameon=False)
    for axes in (by_percentile, by_minute):
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.grid(alpha=0.3, linewidth=0.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96)
    return buffer.getvalue()


def _place(percentile: float) -> float:
    """0, 1, 2, ... for 0, 90, 99, ...: minus the logarithm of what is left."""
    return -log10(max(1.0 - percentile / 100.0, 1e-5))


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(orjson.loads(sys.stdin.buffer.read())))
