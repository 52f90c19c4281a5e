"""Charts of fitted models, written as PNG files, and of stored scores, for the calibration report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.atomic_files import atomic_write
from pipelines.domain.evaluation.edge import (
    Dimension,
    EdgeScore,
    Forecaster,
    Forecasts,
    cumulative_difference,
    edge_reliability_bins,
)
from pipelines.domain.evaluation.score_report import BAND_CELL, REFERENCE, ScoreRow
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.prices.season import MINUTES_PER_HOUR, QUARTERS_PER_DAY, QUARTERS_PER_WEEK, Season

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches.
WIDTH = 7.2
DPI = 96
#: Bins with fewer cases are omitted: minutes and strikes of one time are far from independent.
MIN_CASES = 1000
COLOURS = {"standardised": "#2f7ed8", "momentum": "#e07b39", "student_t": "#3a9a5b", "normal": "#9b59b6"}
EDGE_COLOURS = {Forecaster.MID: "#7f7f7f", Forecaster.MODEL: "#2f7ed8", Forecaster.POOL: "#e07b39"}
GREY = "#7f7f7f"


def chart_path(folder: Path, name: str) -> Path:
    """Where a chart of this name is written."""
    return folder / "charts" / f"{name}.png"


def save_chart(figure: "Figure", folder: Path, name: str) -> Path:
    """Write a chart to its `chart_path`, replacing the old one in one step."""
    path = chart_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI)
    return path


def baseline_heat_map(fingerprints: FingerprintSet, symbol: str) -> "Figure":
    """P(move at least h after t) of the baseline: time to close down, move across."""
    table = fingerprints.index(None)
    moves = np.array(fingerprints.nodes) / 100
    percent = np.concatenate([fingerprints.negative[table][:, :0:-1], fingerprints.positive[table]], axis=1)
    figure, axes = new_chart(3.4)
    extent = (-moves[-1], moves[-1], fingerprints.horizons + 0.5, 0.5)
    image = axes.imshow(percent, aspect="auto", vmin=0, vmax=50, origin="upper", extent=extent)
    title = f"{symbol}, all bars: percent of moves at or past a threshold"
    axes.set(title=title, xlabel="move, %", ylabel="TTC, minutes")
    figure.colorbar(image, ax=axes, label="%")
    return figure


def momentum_chart(fingerprints: FingerprintSet, symbol: str, move_bps: int = 50) -> "Figure":
    """P(move at least `move_bps` after 15 and 60 minutes) by momentum bucket, both directions."""
    column = fingerprints.nodes.index(move_bps)
    buckets = [bucket for bucket in fingerprints.buckets if bucket is not None]
    tables = [fingerprints.index(bucket) for bucket in buckets]
    figure, axes = new_chart(3.0)
    for minutes, style in ((15, "--"), (60, "-")):
        row = min(minutes, fingerprints.horizons) - 1
        rises, falls = (side[tables, row, column] for side in (fingerprints.positive, fingerprints.negative))
        axes.plot(buckets, rises, style, color="tab:blue", label=f"rise, {row + 1} min")
        axes.plot(buckets, falls, style, color="tab:orange", label=f"fall, {row + 1} min")
    title = f"{symbol}: percent of moves of {move_bps / 100:.2f} % or more, by momentum bucket"
    axes.set(title=title, xlabel="momentum bucket", ylim=(0, None))
    finish_chart(axes, "%")
    return figure


def season_chart(season: Season, symbol: str) -> "Figure":
    """Seasonal factor of volatility by quarter-hour of the week and by minute of the hour, in local time."""
    figure = _new_figure(2.8)
    by_week, by_minute = figure.subplots(1, 2, width_ratios=(3, 1))
    by_week.step(np.arange(QUARTERS_PER_WEEK) / QUARTERS_PER_DAY, np.sqrt(season.quarters), where="post", linewidth=0.8)
    by_week.set_xticks(np.arange(7) + 0.5, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    by_week.set(title=f"{symbol}: size of a minute's move, 1 = average", xlabel=season.time_zone)
    by_minute.step(np.arange(MINUTES_PER_HOUR), np.sqrt(season.minute_factors), where="post")
    by_minute.set(title="by minute", xlabel="minute of the hour")
    for axes, limit in ((by_week, 7), (by_minute, MINUTES_PER_HOUR)):
        axes.set(xlim=(0, limit), ylim=(0, None))
        axes.grid(alpha=0.25)
    by_week.set_ylabel("factor")
    return figure


def standardised_chart(tables: Mapping[str, FingerprintSet], symbol: str) -> "Figure":
    """P(a rise of at least z sigmas after 60 minutes) on a log scale, for each model of the standardised move."""
    figure, axes = new_chart(3.0)
    for name, table in tables.items():
        z = np.sinh(np.array(table.nodes) / 100.0) / 2.0
        shown = z <= 8.0
        axes.semilogy(z[shown], np.maximum(table.positive[0, -1][shown], 1e-4), label=name)
    axes.set(title=f"{symbol}: percent of rises of at least z sigmas after 60 minutes", xlabel="z")
    finish_chart(axes, "%")
    return figure


def reliability_by_band(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Reliability diagram of the volatility bands, one panel per model; perfect forecasts are on the diagonal."""
    chart = _new_figure(3.5)
    panels = chart.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    largest = 0.0
    for axes, model in zip(panels, models, strict=True):
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":")
        bins = [row for row in _select(rows, model, "reliability") if row.n >= MIN_CASES]
        largest = max([largest, *(max(_percent(row)) for row in bins)])
        for band in range(10):
            points = [_percent(row) for row in bins if row.level.startswith(f"{band}/")]
            label = {0: "calmest tenth", 9: "most volatile tenth"}.get(band)
            colour = (0.15 + 0.75 * band / 9, 0.45 - 0.2 * band / 9, 0.85 - 0.7 * band / 9)  # from blue to red
            predicted, observed = np.reshape(points, (-1, 2)).T
            axes.plot(predicted, observed, color=colour, linewidth=1.2, marker=".", markersize=3, label=label)
        axes.set(title=model, xlabel="predicted probability, %")
        axes.grid(alpha=0.25)
    limits = (0.0, min(100.0, 1.05 * largest) or 100.0)
    panels[0].set(ylabel="observed frequency, %", xlim=limits, ylim=limits)
    panels[0].legend(fontsize=8, frameon=False)
    return chart


def predicted_and_observed(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Predicted probability and observed frequency of |move| >= 0.5 % after 60 minutes, by volatility band."""
    chart, axes = new_chart(2.9)
    for number, model in enumerate(models):
        found = sorted(_select(rows, model, BAND_CELL), key=lambda row: int(row.level))
        bands = [int(row.level) + 1 for row in found]
        if number == 0:
            observed = [_percent(row)[1] for row in found]
            axes.bar(bands, observed, color=GREY, alpha=0.45, label="observed frequency")
        predicted = [_percent(row)[0] for row in found]
        axes.plot(bands, predicted, marker="o", markersize=4, color=COLOURS.get(model), label=f"{model} predicted")
    axes.set(xlabel="volatility band, calmest tenth first", xticks=range(1, 11))
    axes.set_title("move of 0.5 % or more after 60 minutes")
    finish_chart(axes, "%")
    return chart


def skill_by_ttc(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology by time to close."""
    chart, axes = new_chart(2.9)
    reference = {row.level: row.brier for row in _select(rows, REFERENCE, "ttc_minutes")}
    for model in models:
        found = sorted(_select(rows, model, "ttc_minutes"), key=lambda row: int(row.level))
        skills = [100 * (1 - (row.brier or 0.0) / (reference.get(row.level) or np.nan)) for row in found]
        axes.plot([row.level for row in found], skills, marker="o", markersize=4, color=COLOURS.get(model), label=model)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("time to close, minutes")
    finish_chart(axes, "skill over climatology, %")
    return chart


def skill_by_quarter(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology of each fold, with its 95 % interval."""
    chart, axes = new_chart(2.9)
    for number, model in enumerate(models):
        found = sorted(_select(rows, model, "quarter"), key=lambda row: row.level)
        known = [(row.level, row.skill, row.skill_low, row.skill_high) for row in found if row.skill is not None]
        positions = np.arange(len(known)) + 0.08 * (number - (len(models) - 1) / 2)
        skill, low, high = (100 * np.array([row[i] for row in known], dtype=np.float64) for i in (1, 2, 3))
        errors = np.maximum(np.stack([skill - low, high - skill]), 0.0)
        axes.errorbar(positions, skill, errors, marker="o", capsize=2, color=COLOURS.get(model), label=model)
        axes.set_xticks(range(len(known)), [row[0] for row in known], fontsize=8)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("start of the fold")
    finish_chart(axes, "skill over climatology, %")
    return chart


def edge_reliability(forecast: Forecasts, series: str) -> "Figure":
    """Reliability diagram of the mid, the model and their pool; perfect forecasts are on the diagonal."""
    figure, axes = new_chart(4.2)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":")
    for forecaster in (Forecaster.MID, Forecaster.MODEL, Forecaster.POOL):
        bins = edge_reliability_bins(forecast, forecaster)
        predicted, observed = ([100 * value for value in values] for values in zip(*bins, strict=True))
        axes.plot(predicted, observed, marker=".", color=EDGE_COLOURS[forecaster], label=forecaster)
    axes.set(title=f"{series}: P(yes) and how often the market was YES", xlabel="predicted probability, %")
    axes.grid(alpha=0.25, axis="x")
    finish_chart(axes, "observed frequency, %")
    return figure


def edge_by_ttc(scores: Sequence[EdgeScore], series: str) -> "Figure":
    """Brier difference of the model and of the pool to the mid by time to close, with intervals by event."""
    figure, axes = new_chart(3.0)
    for forecaster, shift in ((Forecaster.MODEL, -0.08), (Forecaster.POOL, 0.08)):
        found = [one for one in scores if one.dimension is Dimension.TTC and one.forecaster is forecaster]
        values = np.array([one.brier_difference.value for one in found])
        intervals = [one.brier_difference.by_event for one in found]
        ends = np.array([(np.nan, np.nan) if one is None else (one.low, one.high) for one in intervals]).reshape(-1, 2)
        errors = np.stack([values - ends[:, 0], ends[:, 1] - values])
        places = np.arange(len(found)) + shift
        axes.errorbar(places, values, errors, fmt="o", capsize=2, color=EDGE_COLOURS[forecaster], label=forecaster)
        axes.set_xticks(range(len(found)), [one.level for one in found])
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set(title=f"{series}: Brier score minus that of the mid, below 0 is better", xlabel="minutes to the close")
    finish_chart(axes, "difference")
    return figure


def edge_over_events(forecast: Forecasts, series: str) -> "Figure":
    """Cumulative Brier difference of the model and of the pool to the mid; the last value is the whole difference."""
    figure, axes = new_chart(3.0)
    for forecaster in (Forecaster.MODEL, Forecaster.POOL):
        sums = cumulative_difference(forecast, forecaster)
        axes.plot(np.arange(1, len(sums) + 1), sums, color=EDGE_COLOURS[forecaster], label=forecaster)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set(title=f"{series}: Brier score minus that of the mid, events added up", xlabel="events by close")
    finish_chart(axes, "difference")
    return figure


def _select(rows: Sequence[ScoreRow], model: str, dimension: str) -> list[ScoreRow]:
    return [row for row in rows if row.model == model and row.dimension == dimension]


def _percent(row: ScoreRow) -> tuple[float, float]:
    """Predicted probability and observed frequency, in percent."""
    return 100 * row.mean_probability, 100 * row.observed_frequency


def finish_chart(axes: "Axes", ylabel: str) -> None:
    """Add the label of the values, a grid and a legend."""
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25, axis="y")
    axes.legend(fontsize=8, frameon=False)


def _new_figure(height: float) -> "Figure":
    """Imports matplotlib only now: it takes 30 MB that a live session does not need."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def new_chart(height: float) -> tuple["Figure", "Axes"]:
    """A chart of this height in inches, with its axes."""
    figure = _new_figure(height)
    return figure, figure.subplots()
