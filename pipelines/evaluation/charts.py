"""Charts of stored scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.domain.evaluation.score_report import BAND_CELL, REFERENCE, ScoreRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2
#: Bins with fewer cases are omitted: minutes and strikes of one time are far from independent.
MIN_CASES = 1000
COLOURS = {"standardised": "#2f7ed8", "momentum": "#e07b39", "student_t": "#3a9a5b", "normal": "#9b59b6"}
GREY = "#7f7f7f"


def new_chart(width: float, height: float) -> "Figure":
    """An empty chart, size in inches. Imports matplotlib only now: it takes 30 MB that a live session does not need."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def reliability_by_band(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Reliability diagram of the volatility bands, one panel per model; perfect forecasts are on the diagonal."""
    chart = new_chart(WIDTH, 3.5)
    panels = chart.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    largest = 0.0
    for axes, model in zip(panels, models, strict=True):
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":")
        bins = [row for row in _select(rows, model, "reliability") if row.n >= MIN_CASES]
        largest = max([largest, *(max(_percent(row)) for row in bins)])
        for band in range(10):
            points = [_percent(row) for row in bins if row.level.startswith(f"{band}/")]
            label = {0: "calmest tenth", 9: "most volatile tenth"}.get(band)
            axes.plot(
                *np.reshape(points, (-1, 2)).T,
                color=_band_colour(band),
                linewidth=1.2,
                marker=".",
                markersize=3,
                label=label,
            )
        axes.set(title=model, xlabel="predicted probability, %")
        axes.grid(alpha=0.25)
    limits = (0.0, min(100.0, 1.05 * largest) or 100.0)
    panels[0].set(ylabel="observed frequency, %", xlim=limits, ylim=limits)
    panels[0].legend(fontsize=8, frameon=False)
    return chart


def predicted_and_observed(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Predicted probability and observed frequency of |move| >= 0.5 % after 60 minutes, by volatility band."""
    chart = new_chart(WIDTH, 2.9)
    axes = chart.subplots()
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
    _finish(axes, "%")
    return chart


def skill_by_ttc(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology by time to close."""
    chart = new_chart(WIDTH, 2.9)
    axes = chart.subplots()
    reference = {row.level: row.brier for row in _select(rows, REFERENCE, "ttc_minutes")}
    for model in models:
        found = sorted(_select(rows, model, "ttc_minutes"), key=lambda row: int(row.level))
        skills = [100 * (1 - (row.brier or 0.0) / (reference.get(row.level) or np.nan)) for row in found]
        axes.plot([row.level for row in found], skills, marker="o", markersize=4, color=COLOURS.get(model), label=model)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("time to close, minutes")
    _finish(axes, "skill over climatology, %")
    return chart


def skill_by_quarter(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology of each fold, with its 95 % interval."""
    chart = new_chart(WIDTH, 2.9)
    axes = chart.subplots()
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
    _finish(axes, "skill over climatology, %")
    return chart


def _select(rows: Sequence[ScoreRow], model: str, dimension: str) -> list[ScoreRow]:
    return [row for row in rows if row.model == model and row.dimension == dimension]


def _percent(row: ScoreRow) -> tuple[float, float]:
    """Predicted probability and observed frequency, in percent."""
    return 100 * row.mean_probability, 100 * row.observed_frequency


def _finish(axes: "Axes", ylabel: str) -> None:
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25, axis="y")
    axes.legend(fontsize=8, frameon=False)


def _band_colour(band: int) -> tuple[float, float, float]:
    """From blue (calmest) to red (most volatile)."""
    share = band / 9
    return (0.15 + 0.75 * share, 0.45 - 0.2 * share, 0.85 - 0.7 * share)
