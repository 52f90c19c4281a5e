"""Small pictures for the assets' metadata. Nothing is computed here."""

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.prices.volatility import QUARTERS_PER_DAY, VolatilityParameters
from pipelines.evaluation.charts import new_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 96


def baseline_heat_map(fingerprints: FingerprintSet, symbol: str) -> dg.MarkdownMetadataValue:
    """P(move at least h within t) of the baseline: falls in green, rises in blue; TTC down, move across."""
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
    return inline(figure, f"Heat map of the {symbol} baseline")


def bucket_lines(fingerprints: FingerprintSet, symbol: str, move_bps: int = 50) -> dg.MarkdownMetadataValue:
    """P(move at least `move_bps` within 15 and 60 minutes), by momentum bucket, both directions."""
    column = fingerprints.nodes.index(move_bps)
    buckets = [bucket for bucket in fingerprints.buckets if bucket is not None]
    tables = [fingerprints.index(bucket) for bucket in buckets]
    figure = new_chart(7.2, 3.0)
    axes = figure.subplots()
    for minutes, style in ((15, "--"), (60, "-")):
        row = min(minutes, fingerprints.horizons) - 1
        axes.plot(
            buckets, fingerprints.positive[tables, row, column], style, color="tab:blue", label=f"rise, {row + 1} min"
        )
        axes.plot(
            buckets, fingerprints.negative[tables, row, column], style, color="tab:orange", label=f"fall, {row + 1} min"
        )
    axes.set(
        title=f"{symbol}: percent of moves of {move_bps / 100:.2f} % or more, by momentum bucket",
        xlabel="momentum bucket",
        ylabel="%",
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize=8)
    return inline(figure, f"{symbol} by momentum bucket")


def season_lines(parameters: VolatilityParameters, symbol: str) -> dg.MarkdownMetadataValue:
    """Season by quarter-hour of the day (UTC), on weekdays and on weekends."""
    figure = new_chart(7.2, 2.8)
    axes = figure.subplots()
    hours = np.arange(QUARTERS_PER_DAY) / 4
    for label, part in (("weekday", slice(0, QUARTERS_PER_DAY)), ("weekend", slice(QUARTERS_PER_DAY, None))):
        axes.step(hours, np.sqrt(parameters.season[part]), where="post", label=label)
    axes.set(
        title=f"{symbol}: usual size of a minute's move, by quarter-hour",
        xlabel="hour, UTC",
        ylabel="1 = average",
        xlim=(0, 24),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return inline(figure, f"Season of {symbol}")


def standardised_lines(tables: Mapping[str, FingerprintSet], symbol: str) -> dg.MarkdownMetadataValue:
    """P(a rise of at least z sigmas within 60 minutes), on a log scale, for each model of the standardised move."""
    figure = new_chart(7.2, 3.0)
    axes = figure.subplots()
    for name, table in tables.items():
        z = np.sinh(np.array(table.nodes) / 100.0) / 2.0
        shown = z <= 8.0
        axes.semilogy(z[shown], np.maximum(table.positive[0, -1][shown], 1e-4), label=name)
    axes.set(title=f"{symbol}: percent of rises of at least z sigmas within 60 minutes", xlabel="z", ylabel="%")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return inline(figure, f"Distribution of the standardised move of {symbol}")


def inline(figure: "Figure", alternative: str) -> dg.MarkdownMetadataValue:
    """A chart as metadata that the UI shows as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{encoded})")
