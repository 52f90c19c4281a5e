"""Small pictures for the assets' metadata. Nothing is computed here."""

import base64
import io

import dagster as dg
import numpy as np
from matplotlib.figure import Figure

from pipelines.domain.fingerprint import FingerprintSet

DPI = 96


def baseline_heat_map(fingerprints: FingerprintSet, symbol: str) -> dg.MarkdownMetadataValue:
    """P(move at least h within t) of the baseline: falls in green, rises in blue; TTC down, move across."""
    table = fingerprints.index(None)
    moves = np.array(fingerprints.nodes) / 100
    percent = np.concatenate([fingerprints.negative[table][:, :0:-1], fingerprints.positive[table]], axis=1)
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        percent, aspect="auto", cmap="viridis", vmin=0, vmax=50, origin="upper",
        extent=(-moves[-1], moves[-1], fingerprints.horizons + 0.5, 0.5),
    )  # fmt: skip
    axes.set(
        title=f"{symbol}, all bars: percent of moves at or past a threshold", xlabel="move, %", ylabel="TTC, minutes"
    )
    figure.colorbar(image, ax=axes, label="%")
    return _inline(figure, f"Heat map of the {symbol} baseline")


def bucket_lines(fingerprints: FingerprintSet, symbol: str, move_bps: int = 50) -> dg.MarkdownMetadataValue:
    """P(move at least `move_bps` within 15 and 60 minutes), by momentum bucket, both directions."""
    column = fingerprints.nodes.index(move_bps)
    buckets = [bucket for bucket in fingerprints.buckets if bucket is not None]
    tables = [fingerprints.index(bucket) for bucket in buckets]
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.subplots()
    for minutes, style in ((15, "--"), (60, "-")):
        row = min(minutes, fingerprints.horizons) - 1
        axes.plot(
            buckets, fingerprints.positive[tables, row, column], style, color="tab:blue", label=f"rise, {row + 1} min"
        )
        axes.plot(
            buckets, fingerprints.negative[tables, row, column], style, color="tab:orange", label=f"fall, {row + 1} min"
        )
    axes.set(title=f"{symbol}: percent of moves of {move_bps / 100:.2f} % or more, by momentum bucket",
             xlabel="momentum bucket", ylabel="%", ylim=(0, None))  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize=8)
    return _inline(figure, f"{symbol} by momentum bucket")


def _inline(figure: Figure, alternative: str) -> dg.MarkdownMetadataValue:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{encoded})")
