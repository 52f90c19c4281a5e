"""Calibration report: one self-contained HTML page per symbol."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from pipelines.atomic_files import atomic_write
from pipelines.domain.evaluation.score_report import BAND_CELL, ScoreRow
from pipelines.evaluation.charts import predicted_and_observed, reliability_by_band, skill_by_quarter, skill_by_ttc
from pipelines.evaluation.score_runs import ScoreReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARED = ("momentum", "standardised")


def report_path(folder: Path, symbol: str) -> Path:
    """Path of a symbol's report."""
    return folder / f"{symbol.lower()}_calibration.html"


def write_report(report: ScoreReport, folder: Path, now: datetime) -> Path:
    """Write the page, replacing an older one atomically, and return its path. `now`: aware."""
    rows = report.rows
    models = [model for model in COMPARED if any(row.model == model for row in rows)]
    pooled = [row for row in rows if row.dimension == "all"]
    skilled = [row.model for row in pooled if row.model != "climatology"]
    start, stop = report.span
    source = resources.files("pipelines.evaluation").joinpath("calibration_report.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True).from_string(source)
    page = template.render(
        symbol=report.symbol,
        cases=f"{pooled[0].n:,}",
        start=start.date(),
        stop=stop.date(),
        every=f"{report.plan.every_minutes} minutes",
        folds=len(report.folds),
        command=_command(report),
        now=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        pooled=pooled,
        decompositions=report.decompositions,
        uncertainty=report.decompositions[pooled[0].model].uncertainty,
        models=models,
        by_band=_by_band(rows),
        bands=_svg(predicted_and_observed(rows, models)),
        reliability=_svg(reliability_by_band(rows, models)),
        ttc=_svg(skill_by_ttc(rows, skilled)),
        quarters=_svg(skill_by_quarter(rows, skilled)),
    )
    path = report_path(folder, report.symbol)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _command(report: ScoreReport) -> str:
    """The command that prints the figures of a report."""
    start, stop = (f"{instant:%Y-%m-%dT%H:%M:%S}" for instant in report.span)
    months = "" if report.plan.fold_months is None else f" --fold-months {report.plan.fold_months}"
    return f"strikecast score {report.symbol} --from {start} --to {stop} --every {report.plan.every_minutes}{months}"


def _by_band(rows: Sequence[ScoreRow]) -> list[dict[str, object]]:
    found = [row for row in rows if row.dimension == BAND_CELL]
    return [
        {
            "number": band + 1,
            "observed": next(100 * row.observed_frequency for row in found if row.level == str(band)),
            "predicted": {row.model: 100 * row.mean_probability for row in found if row.level == str(band)},
        }
        for band in sorted({int(row.level) for row in found})
    ]


def _svg(chart: "Figure") -> object:
    buffer = io.StringIO()
    chart.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  not user input
