"""Charts of the paper desk's account."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.evaluation.charts import GREY, finish_chart, new_chart
from pipelines.storage.desk.rows import EquityPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def account_chart(points: Sequence[EquityPoint], capital_usd: float, title: str) -> "Figure":
    """Equity over time (UTC) with the capital at the beginning; USD."""
    figure, axes = new_chart(3.0)
    times = np.array([point.at.replace(tzinfo=None) for point in points], dtype="datetime64[us]")
    axes.plot(times, [point.equity_usd for point in points], label="equity", linewidth=1.0)
    axes.axhline(capital_usd, color=GREY, linewidth=0.8, linestyle="--", label="capital")
    axes.set(title=title, xlabel="UTC")
    axes.tick_params("x", labelrotation=20, labelsize=8)
    finish_chart(axes, "USD, positions at the bid")
    return figure
