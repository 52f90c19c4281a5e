"""Calibration report: one self-contained HTML page per symbol."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
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

_PAGE = jinja2.Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ symbol }}: calibration of the probabilities</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.lead { color: gray; margin-top: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .4rem; font-size: .92em; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
figure { margin: .5rem 0; background: #fff; border-radius: 6px; padding: .4rem; }
figure svg { width: 100%; height: auto; }
</style></head><body>
<h1>{{ symbol }}: calibration of the probabilities</h1>
<p class="lead">Walk-forward evaluation: {{ cases }} cases from {{ start }} to {{ stop }} (UTC), a base minute every
{{ every }}, {{ folds }} fold{{ "s" if folds != 1 }}. Written {{ now }}.</p>
<h2>All cases</h2>
<div class="wide"><table><tr><th>model</th><th>Brier</th><th>log loss</th><th>skill, %</th><th>95 % interval</th>
<th>calibration, points</th><th>reliability</th><th>resolution</th></tr>
{% for row in pooled %}<tr><td>{{ row.model }}</td><td>{{ "%.5f"|format(row.brier) }}</td>
<td>{{ "%.5f"|format(row.log_loss) }}</td>
<td>{{ "%.2f"|format(100 * row.skill) if row.skill is not none else "0" }}</td>
<td>{{ "%.2f .. %.2f"|format(100 * row.skill_low, 100 * row.skill_high) if row.skill is not none else "" }}</td>
<td>{{ "%+.2f"|format(100 * (row.mean_probability - row.observed_frequency)) }}</td>
<td>{{ "%.5f"|format(decompositions[row.model].reliability) }}</td>
<td>{{ "%.5f"|format(decompositions[row.model].resolution) }}</td></tr>
{% endfor %}</table></div>
<p>The reference of the skill is climatology. Reliability is the loss from miscalibration (0 is best), resolution the
gain from distinguishing cases; Brier = reliability - resolution + uncertainty ({{ "%.5f"|format(uncertainty) }}) plus
a small within-bin term.</p>
<h2>By volatility: move of 0.5 % or more after 60 minutes</h2>
<figure>{{ bands }}</figure>
<div class="wide"><table><tr><th>volatility band, calmest tenth first</th>
{% for band in by_band %}<th>{{ band.number }}</th>{% endfor %}</tr>
<tr><td>observed frequency, %</td>{% for band in by_band %}<td>{{ "%.1f"|format(band.observed) }}</td>{% endfor %}</tr>
{% for model in models %}<tr><td>{{ model }} predicted, %</td>
{% for band in by_band %}<td>{{ "%.1f"|format(band.predicted[model]) }}</td>{% endfor %}</tr>{% endfor %}</table></div>
<h2>Reliability in each volatility band</h2><figure>{{ reliability }}</figure>
<h2>Skill by time to close</h2><figure>{{ ttc }}</figure>
{% if folds > 1 %}<h2>Skill over time</h2><figure>{{ quarters }}</figure>{% endif %}
</body></html>
""",
    autoescape=True,
)


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
    page = _PAGE.render(
        symbol=report.symbol,
        cases=f"{pooled[0].n:,}",
        start=start.date(),
        stop=stop.date(),
        every=f"{report.plan.every_minutes} minutes",
        folds=len(report.folds),
        now=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        pooled=pooled,
        decompositions=report.decompositions,
        uncertainty=report.decompositions[pooled[0].model].uncertainty,
        models=models,
        by_band=_by_band(rows, models),
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


def _by_band(rows: Sequence[ScoreRow], models: Sequence[str]) -> list[dict[str, object]]:
    found = [row for row in rows if row.dimension == BAND_CELL]
    return [
        {
            "number": band + 1,
            "observed": next(100 * row.observed_frequency for row in found if row.level == str(band)),
            "predicted": {
                row.model: 100 * row.mean_probability for row in found if row.level == str(band) and row.model in models
            },
        }
        for band in sorted({int(row.level) for row in found})
    ]


def _svg(chart: "Figure") -> object:
    buffer = io.StringIO()
    chart.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  not user input
