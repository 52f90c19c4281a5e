"""Charts of scores, from the rows that are stored. Nothing is computed here but what a chart needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.domain.evaluation.score_report import BAND_CELL, REFERENCE, ScoreRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2
#: A bin with fewer cases says nothing: minutes and strikes of one time are far from independent.
FEWEST_CASES = 1000
COLOURS = {"standardised": "#2f7ed8", "momentum": "#e07b39", "student_t": "#3a9a5b", "normal": "#9b59b6"}
OBSERVED = "#7f7f7f"


def new_chart(width: float, height: float) -> "Figure":
    """An empty figure of so many inches. matplotlib is loaded by who draws: a live session has no 30 MB for it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def reliability_by_band(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Forecast against outcome in the volatility bands, one panel per model; the diagonal is right."""
    figure = new_chart(WIDTH, 3.5)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        axes.plot([0, 100], [0, 100], color=OBSERVED, linewidth=0.8, linestyle=":")
        for band in range(10):
            of_band = [row for row in _of(rows, model, "reliability") if row.level.startswith(f"{band}/")]
            bins = [row for row in of_band if row.n >= FEWEST_CASES]
            shown, happened = (
                [100 * row.mean_probability for row in bins],
                [100 * row.observed_frequency for row in bins],
            )
            axes.plot(
                shown,
                happened,
                color=_band_colour(band),
                linewidth=1.2,
                marker=".",
                markersize=3,
                label={0: "calmest tenth", 9: "wildest tenth"}.get(band),
            )
        axes.set(title=model, xlabel="shown, %")
        axes.grid(alpha=0.25)
    largest = max(
        (100 * max(row.mean_probability, row.observed_frequency) for row in _many(rows, models)), default=100.0
    )
    panels[0].set(ylabel="happened, %", ylim=(0, min(100.0, 1.05 * largest)))
    for axes in panels:
        axes.set_xlim(0, min(100.0, 1.05 * largest))
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def predicted_and_observed(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """P(|move| >= 0.5 % within 60 minutes) by volatility band: what models showed, and what happened."""
    figure = new_chart(WIDTH, 2.9)
    axes = figure.subplots()
    places = np.arange(1, 11)
    for number, model in enumerate(models):
        found = sorted(_of(rows, model, BAND_CELL), key=lambda row: int(row.level))
        bands = np.array([int(row.level) for row in found])
        if number == 0:
            happened = [100 * row.observed_frequency for row in found]
            axes.bar(places[bands], happened, color=OBSERVED, alpha=0.45, label="happened")
        axes.plot(
            places[bands],
            [100 * row.mean_probability for row in found],
            marker="o",
            markersize=4,
            color=COLOURS.get(model),
            label=f"{model} showed",
        )
    axes.set(
        xlabel="volatility band, tenths, calmest first",
        ylabel="%",
        xticks=places,
        title="a move of 0.5 % or more within 60 minutes",
    )
    axes.grid(alpha=0.25, axis="y")
    axes.legend(fontsize=8, frameon=False)
    return figure


def skill_by_ttc(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology by time to close."""
    figure = new_chart(WIDTH, 2.9)
    axes = figure.subplots()
    base = {row.level: row.brier for row in _of(rows, REFERENCE, "ttc_minutes")}
    for model in models:
        found = sorted(_of(rows, model, "ttc_minutes"), key=lambda row: int(row.level))
        skills = [100 * (1 - (row.brier or 0.0) / (base.get(row.level) or np.nan)) for row in found]
        axes.plot([row.level for row in found], skills, marker="o", markersize=4, color=COLOURS.get(model), label=model)
    _finish_skill(axes, "time to close, minutes")
    return figure


def skill_by_quarter(rows: Sequence[ScoreRow], models: Sequence[str]) -> "Figure":
    """Skill over climatology of each fold, with its 95 % interval."""
    figure = new_chart(WIDTH, 2.9)
    axes = figure.subplots()
    for number, model in enumerate(models):
        found = sorted(_of(rows, model, "quarter"), key=lambda row: row.level)
        known = [(row.level, row.skill, row.skill_low, row.skill_high) for row in found if row.skill is not None]
        at = np.arange(len(known)) + 0.08 * (number - (len(models) - 1) / 2)
        skill, low, high = (100 * np.array([each[i] for each in known], dtype=np.float64) for i in (1, 2, 3))
        errors = np.maximum(np.stack([skill - low, high - skill]), 0.0)
        axes.errorbar(
            at, skill, errors, marker="o", markersize=4, linewidth=1.2, capsize=2, color=COLOURS.get(model), label=model
        )
        axes.set_xticks(range(len(known)), [each[0] for each in known], fontsize=8)
    _finish_skill(axes, "fold beginning")
    return figure


def _many(rows: Sequence[ScoreRow], models: Sequence[str]) -> list[ScoreRow]:
    return [row for model in models for row in _of(rows, model, "reliability") if row.n >= FEWEST_CASES]


def _of(rows: Sequence[ScoreRow], model: str, dimension: str) -> list[ScoreRow]:
    return [row for row in rows if row.model == model and row.dimension == dimension]


def _finish_skill(axes: "Axes", xlabel: str) -> None:
    axes.axhline(0.0, color=OBSERVED, linewidth=0.8)
    axes.set(xlabel=xlabel, ylabel="skill over climatology, %")
    axes.grid(alpha=0.25, axis="y")
    axes.legend(fontsize=8, frameon=False)


def _band_colour(band: int) -> tuple[float, float, float]:
    """From blue, the calmest, to red, the wildest."""
    share = band / 9
    return (0.15 + 0.75 * share, 0.45 - 0.2 * share, 0.85 - 0.7 * share)
