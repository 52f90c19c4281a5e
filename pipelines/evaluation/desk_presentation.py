"""Charts and a table of backtests of the paper desk: no gain without its interval and the number of variants."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipelines.domain.evaluation.desk_backtest import DeskRun
from pipelines.domain.evaluation.desk_report import DeskDimension, DeskReport
from pipelines.domain.evaluation.edge import Estimate, Forecaster
from pipelines.domain.evaluation.scoring import Interval
from pipelines.evaluation.charts import EDGE_COLOURS, GREY, finish_chart, new_chart
from pipelines.evaluation.desk_runs import SeriesBacktest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKTEST_HEADER = (
    "series",
    "exchange",
    "quotes",
    "events",
    "days",
    "trades",
    "contracts",
    "gain, USD",
    "by event",
    "by day",
    "per contract",
    "by event",
    "by day",
    "fees, USD",
    "drawdown, USD",
    "variants tried",
)


def backtest_row(one: SeriesBacktest, variants: int) -> tuple[object, ...]:
    """The cells of BACKTEST_HEADER."""
    run, report = one.run, one.report
    return (
        run.series_ticker,
        run.exchange,
        f"{report.quotes:,}",
        report.events,
        report.days,
        report.trades,
        f"{report.contracts.normalize():f}",
        *_cells(report.gain, "{:+.2f}"),
        *_cells(report.per_contract, "{:+.4f}"),
        f"{report.fees_usd:.4f}",
        f"{report.max_drawdown_usd:.2f}",
        variants,
    )


def gain_text(report: DeskReport, variants: int) -> str:
    """The gain with its intervals, and the number of variants, for the title of a chart."""
    tried = f"{variants} variant{'s' if variants > 1 else ''} tried"
    if report.gain is None:
        return f"no trades, {tried}"
    value, by_event, by_day = _cells(report.gain, "{:+.2f}")
    return f"gain {value} USD, 95 %: {by_event} by event, {by_day} by day; {tried}"


def backtest_charts(found: Iterable[tuple[SeriesBacktest, int]]) -> "dict[str, Figure]":
    """Equity and gain by time to close of each backtest with trades, by name; with the variants tried."""
    charts = {}
    for one, variants in found:
        if one.report.trades:
            name = f"desk_{one.run.exchange}_{one.run.series_ticker.lower()}"
            title = f"{one.run.series_ticker} on {one.run.exchange}\n{gain_text(one.report, variants)}"
            charts[f"{name}_equity"] = desk_equity(one.desk, title)
            charts[f"{name}_by_ttc"] = desk_by_ttc(one.report, title)
    return charts


def desk_equity(run: DeskRun, title: str) -> "Figure":
    """Equity of a backtest above its capital, and its drawdown below zero."""
    figure, axes = new_chart(3.2)
    times = np.array([at.timestamp() for at, _ in run.equity_usd]).astype("datetime64[s]")
    equity = np.array([float(value) for _, value in run.equity_usd])
    # The desk starts with its capital: a later value below it is a drawdown at once.
    gain, drawdown = equity - equity[0], equity - np.maximum.accumulate(equity)
    axes.step(times, gain, where="post", color=EDGE_COLOURS[Forecaster.POOL], linewidth=1.0, label="equity - capital")
    axes.fill_between(times, drawdown, step="post", color=GREY, alpha=0.5, linewidth=0, label="drawdown")
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    finish_chart(axes, "USD, positions at the bid")
    return figure


def desk_by_ttc(report: DeskReport, title: str) -> "Figure":
    """Gain per contract by minutes to the close at the signal, with 95 % intervals by event, and numbers of trades."""
    figure, axes = new_chart(3.2)
    found = [one for one in report.results if one.dimension is DeskDimension.TTC]
    places = np.arange(len(found))
    values = np.array([one.per_contract.value for one in found])
    intervals = [one.per_contract.by_event for one in found]
    ends = np.array([(np.nan, np.nan) if one is None else (one.low, one.high) for one in intervals]).reshape(-1, 2)
    errors = np.stack([values - ends[:, 0], ends[:, 1] - values])
    axes.errorbar(places, values, errors, fmt="o", capsize=2, color=EDGE_COLOURS[Forecaster.POOL], label="per contract")
    axes.set_xticks(places, [f"{one.level}\n{one.trades} trades" for one in found], fontsize=8)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlabel("minutes to the close at the signal")
    axes.set_title(title, fontsize=9)
    finish_chart(axes, "gain after fees, USD")
    return figure


def _cells(estimate: Estimate | None, form: str) -> tuple[str, str, str]:
    """The value, and its intervals by event and by day."""
    if estimate is None:
        return "none", "none", "none"
    return form.format(estimate.value), _ends(estimate.by_event, form), _ends(estimate.by_day, form)


def _ends(interval: Interval | None, form: str) -> str:
    return "none" if interval is None else f"{form.format(interval.low)} .. {form.format(interval.high)}"
