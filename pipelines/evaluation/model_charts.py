"""Charts of fitted models, drawn from their tables and written as PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.atomic_files import atomic_write
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.prices.volatility import QUARTERS_PER_DAY, VolatilityParameters
from pipelines.evaluation.charts import new_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 96


def save_chart(figure: "Figure", folder: Path, name: str) -> Path:
    """Write a chart as `{folder}/charts/{name}.png`, replacing the old one in one step."""
    path = folder / "charts" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI)
    return path


def baseline_heat_map(fingerprints: FingerprintSet, symbol: str) -> "Figure":
    """P(move at least h after t) of the baseline: time to close down, move across."""
    table = fingerprints.index(None)
    moves = np.array(fingerprints.nodes) / 100
    percent = np.concatenate([fingerprints.negative[table][:, :0:-1], fingerprints.positive[table]], axis=1)
    figure = new_chart(7.2, 3.4)
    axes = figure.subplots()
    image = axes.imshow(
        percent,
        aspect="auto",
        cmap="viridis",
        vmin=0,
        vmax=50,
        origin="upper",
        extent=(-moves[-1], moves[-1], fingerprints.horizons + 0.5, 0.5),
    )
    axes.set(
        title=f"{symbol}, all bars: percent of moves at or past a threshold", xlabel="move, %", ylabel="TTC, minutes"
    )
    figure.colorbar(image, ax=axes, label="%")
    return figure


def momentum_chart(fingerprints: FingerprintSet, symbol: str, move_bps: int = 50) -> "Figure":
    """P(move at least `move_bps` after 15 and 60 minutes) by momentum bucket, both directions."""
    column = fingerprints.nodes.index(move_bps)
    buckets = [bucket for bucket in fingerprints.buckets if bucket is not None]
    tables = [fingerprints.index(bucket) for bucket in buckets]
    figure = new_chart(7.2, 3.0)
    axes = figure.subplots()
    for minutes, style in ((15, "--"), (60, "-")):
        row = min(minutes, fingerprints.horizons) - 1
        rises, falls = (side[tables, row, column] for side in (fingerprints.positive, fingerprints.negative))
        axes.plot(buckets, rises, style, color="tab:blue", label=f"rise, {row + 1} min")
        axes.plot(buckets, falls, style, color="tab:orange", label=f"fall, {row + 1} min")
    title = f"{symbol}: percent of moves of {move_bps / 100:.2f} % or more, by momentum bucket"
    axes.set(title=title, xlabel="momentum bucket", ylabel="%", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize=8)
    return figure


def season_chart(parameters: VolatilityParameters, symbol: str) -> "Figure":
    """Seasonal factor of volatility by quarter-hour of the day (UTC), on weekdays and on weekends."""
    figure = new_chart(7.2, 2.8)
    axes = figure.subplots()
    hours = np.arange(QUARTERS_PER_DAY) / 4
    for label, part in (("weekday", slice(0, QUARTERS_PER_DAY)), ("weekend", slice(QUARTERS_PER_DAY, None))):
        axes.step(hours, np.sqrt(parameters.season[part]), where="post", label=label)
    title = f"{symbol}: size of a minute's move by quarter-hour, 1 = average"
    axes.set(title=title, xlabel="hour, UTC", ylabel="factor", xlim=(0, 24), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def standardised_chart(tables: Mapping[str, FingerprintSet], symbol: str) -> "Figure":
    """P(a rise of at least z sigmas after 60 minutes) on a log scale, for each model of the standardised move."""
    figure = new_chart(7.2, 3.0)
    axes = figure.subplots()
    for name, table in tables.items():
        z = np.sinh(np.array(table.nodes) / 100.0) / 2.0
        shown = z <= 8.0
        axes.semilogy(z[shown], np.maximum(table.positive[0, -1][shown], 1e-4), label=name)
    axes.set(title=f"{symbol}: percent of rises of at least z sigmas after 60 minutes", xlabel="z", ylabel="%")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
