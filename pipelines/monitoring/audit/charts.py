"""What a section draws: bars and small multiples, as pictures inside of the page that take its colours."""

import io
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pipelines.domain.monitoring.audit.history import Trend
from pipelines.domain.monitoring.audit.measurements import scale_of
from pipelines.domain.monitoring.audit.sections import Bars, Multiples
from pipelines.evaluation.charts import new_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Stands for the colour of the page's text, light or dark.
INK = "#010203"
SERIES = ("#4c8bd6", "#e0913f", "#5aa469")
WIDTH = 7.2
COLUMNS = 3


def svg(chart: Bars | Multiples) -> Markup:
    """The chart as an element of a page."""
    with _style(INK):
        buffer = io.StringIO()
        _drawn(chart).savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    text = buffer.getvalue().replace(INK, "currentColor")
    # The picture scales with the page; its own size would not.
    head, body = text[text.index("<svg") :].split(">", 1)
    kept = [part for part in head.split('" ') if not part.startswith(("width=", "height="))]
    return Markup('" '.join(kept) + ">" + body)  # noqa: S704  our own chart


def png(chart: Bars | Multiples) -> bytes:
    """The chart on white, for where a page cannot colour it."""
    with _style("#333333"):
        buffer = io.BytesIO()
        _drawn(chart).savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _style(ink: str) -> AbstractContextManager[None]:
    from matplotlib import rc_context

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "strikecast",
        "font.size": 8,
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": "sans-serif",
        "text.parse_math": False,
    }
    return rc_context(style)


def _drawn(chart: Bars | Multiples) -> "Figure":
    return _bars(chart) if isinstance(chart, Bars) else _multiples(chart.trends)


def _bars(chart: Bars) -> "Figure":
    """Horizontal bars, the first label on top."""
    rows, count = len(chart.labels), len(chart.series)
    figure = new_chart(WIDTH, 0.5 + rows * (0.14 + 0.11 * count))
    axes = figure.subplots()
    scale, unit = scale_of(max(max(values) for values in chart.series.values()), chart.unit)
    places = np.arange(rows)
    for number, (name, values) in enumerate(chart.series.items()):
        offset = 0.8 * ((number + 0.5) / count - 0.5)
        axes.barh(places + offset, np.array(values) / scale, 0.8 / count, color=SERIES[number], label=name)
    axes.set_yticks(places, chart.labels)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.grid(axis="x", alpha=0.25)
    if count > 1:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=count, borderaxespad=0.0)
    return figure


def _multiples(trends: tuple[Trend, ...]) -> "Figure":
    """One small chart for each trend, all over the same time."""
    rows = -(-len(trends) // COLUMNS)
    figure = new_chart(WIDTH, 0.2 + 1.15 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, trend in zip(panels, trends, strict=False):
        _panel(axes, trend)
    for axes in panels[len(trends) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: "Axes", trend: Trend) -> None:
    scale, unit = scale_of(max(abs(one.value) for one in trend.readings), trend.unit)
    at = [one.at for one in trend.readings]
    values = [one.value / scale for one in trend.readings]
    axes.plot(at, values, color=SERIES[0], linewidth=1.0, marker=".", markersize=2)  # type: ignore[arg-type]
    axes.plot(at[-1:], values[-1:], color=SERIES[1], marker="o", markersize=4)  # type: ignore[arg-type]
    axes.set_title(f"{trend.title}\n{unit}", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.2)
    axes.set_ylim(min(0.0, *values), 1.12 * max(0.0, *values) or 1.0)
    axes.set_xticks([at[0], at[-1]], [f"{at[0]:%m-%d %H:%M}", f"{at[-1]:%m-%d %H:%M}"])  # type: ignore[arg-type]
