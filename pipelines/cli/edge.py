"""`strikecast edge`: score the model against the stored quotes of markets."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, no_markets, reading_settings
from pipelines.deployment import scoring_databases
from pipelines.errors import NoDataError, SettingsError

if TYPE_CHECKING:  # importing numpy would delay every command
    from pipelines.domain.evaluation.edge import EdgeScore, Estimate
    from pipelines.domain.evaluation.scoring import Interval
    from pipelines.domain.markets.pool import PoolDecision
    from pipelines.evaluation.edge_runs import EdgeReport, SeriesEdge

app = typer.Typer()
GROUP_TITLES = {
    "ttc_minutes": "by minutes to the close",
    "spread_cents": "by cents between bid and ask",
    "volatility": "by fifth of the minutes by volatility forecast, 1 the calmest",
}


@app.command()
def edge(
    symbol: Symbol,
    series: Annotated[str | None, typer.Option(help="Only this series, such as KXBTCD.")] = None,
    start: Annotated[datetime | None, typer.Option("--from", help="Only markets that close from then on, UTC.")] = None,
    stop: Annotated[datetime | None, typer.Option("--to", help="Only markets that close before then, UTC.")] = None,
    store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Store the scores, by which live sessions decide whether they serve the pool; needs the role "
            "strikecast_pipeline.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Score the mid, the model, their pool and climatology on the stored quotes of settled markets.

    The model is fitted on bars before each day, the basis on quotes before each minute. Differences are to the mid on
    the same quotes, with 95 % intervals that resample events or days. The pool is served for a series only while, over
    200 settled events or more, it is better than the mid with its whole interval by event.

    Examples: `strikecast edge BTC`, `strikecast edge BTC --series KXBTCD --from 2025-04-15`, `strikecast edge BTC
    --store`
    """
    if store and (start is not None or stop is not None or series is not None):
        raise SettingsError("--store is for the scores of all stored quotes: leave out --series, --from and --to")
    settings = reading_settings([symbol])
    from pipelines.evaluation import edge_runs
    from pipelines.storage.postgres.connection import Role
    from pipelines.storage.postgres.reading import read

    since, until = (None if day is None else day.replace(tzinfo=UTC) for day in (start, stop))
    with scoring_databases(settings, console.log, store=store, needed_at=until) as (database, source):
        inputs = read(
            source,
            "edge",
            lambda connection: edge_runs.read_edge_inputs(
                connection, symbol, settings.model, series=series, since=since, until=until
            ),
        )
        if not inputs.series:
            raise no_markets(symbol, series)
        console.log(f"quotes of {len(inputs.series)} series of {symbol} read")
        report = edge_runs.score_edge(inputs, settings.model, console.log)
        if store:
            with database.connect("edge", Role.PIPELINE) as connection:
                edge_runs.store_edge(connection, report)
        served = read(database, "edge", lambda connection: edge_runs.served_now(connection, report))
    if not report.series:
        reasons = "; ".join(f"{name} on {exchange}: {why}" for (exchange, name), why in report.not_scored.items())
        raise NoDataError(f"no series of {symbol} can be scored: {reasons}")
    if json:
        console.print_json(_as_json(report, served))
        return
    for one in report.series:
        _print_series(one, served[one.run.exchange, one.run.series_ticker])
    for (exchange, name), why in report.not_scored.items():
        console.print_lines(f"{name} on {exchange} is not scored: {why}")


def _as_json(report: "EdgeReport", served: "dict[tuple[str, str], PoolDecision]") -> dict[str, object]:
    from pipelines.evaluation.edge_runs import decision_as_json

    return {
        "symbol": report.symbol,
        "series": [
            {**one.as_json(), "served_now": decision_as_json(served[one.run.exchange, one.run.series_ticker])}
            for one in report.series
        ],
        "not_scored": [
            {"exchange": exchange, "series_ticker": name, "reason": why}
            for (exchange, name), why in report.not_scored.items()
        ],
    }


def _print_series(one: "SeriesEdge", served: "PoolDecision") -> None:
    run = one.run
    pooled = [score for score in one.scores if score.dimension == "all"]
    simulated = ", simulated markets" if run.exchange == "simulated" else ""
    title = (
        f"{run.series_ticker} on {run.exchange}{simulated}, {run.symbol}: {pooled[0].quotes:,} quotes of "
        f"{pooled[0].events:,} events that close on {pooled[0].days:,} days\n{run.scored_from:%Y-%m-%d %H:%M} to "
        f"{run.scored_until:%Y-%m-%d %H:%M} UTC, settled by {run.settlement}, model {run.model}"
    )
    names = ("forecaster", "Brier", "by event", "by day", "log loss", "by event", "by day")
    rows = [(each.forecaster, *_cells(each.brier, "{:.4f}"), *_cells(each.log_loss, "{:.4f}")) for each in pooled]
    console.print_table(names, rows, title=title, numbers=names[1:])
    console.print_lines("")
    names = ("minus the mid", *names[1:])
    rows = [
        (each.forecaster, *_cells(each.brier_difference, "{:+.4f}"), *_cells(each.log_loss_difference, "{:+.4f}"))
        for each in pooled[1:]
    ]
    title = "difference to the mid on the same quotes, below 0 is better than the mid"
    console.print_table(names, rows, title=title, numbers=names[1:])
    for dimension, title in GROUP_TITLES.items():
        console.print_lines("")
        _print_groups([score for score in one.scores if score.dimension == dimension], title)
    console.print_lines("", *_notes(one), *_served(one, served), "")


def _print_groups(scores: "Sequence[EdgeScore]", title: str) -> None:
    """A row per group: counts, the mid's Brier score, and the Brier differences to it with intervals by event."""
    levels = list(dict.fromkeys(score.level for score in scores))
    forecasters = list(dict.fromkeys(score.forecaster for score in scores))
    of = {(score.level, score.forecaster): score for score in scores}
    names = ["group", "quotes", "events", "mid"]
    for forecaster in forecasters[1:]:
        names += [f"{forecaster} - mid", "by event"]
    rows = []
    for level in levels:
        mid = of[level, forecasters[0]]
        differences = [of[level, forecaster].brier_difference for forecaster in forecasters[1:]]
        cells = [cell for each in differences for cell in _cells(each, "{:+.4f}")[:2]]
        rows.append((level, f"{mid.quotes:,}", f"{mid.events:,}", f"{mid.brier.value:.4f}", *cells))
    console.print_table(names, rows, title=f"Brier score {title}", numbers=names[1:])


def _notes(one: "SeriesEdge") -> list[str]:
    pooled = one.scores[0]
    notes = [f"left out: {count:,} {reason}" for reason, count in one.run.left_out.items()]
    notes += [f"refused: {refused}" for refused in one.run.refused]
    for what, count in (("event", pooled.events), ("day", pooled.days)):
        if count < 2:
            notes.append(f"the quotes are of one {what}: there are no intervals by {what}")
    return notes


def _served(one: "SeriesEdge", served: "PoolDecision") -> list[str]:
    decision = one.decision
    lines = [f"by these scores: {decision.name}, {decision.reason}"]
    if served == decision:
        return [*lines, f"live sessions serve the {served.name}"]
    return [*lines, f"live sessions serve the {served.name}: {served.reason}; `--store` stores the newest scores"]


def _cells(estimate: "Estimate", form: str) -> tuple[str, str, str]:
    """The value, and its intervals by event and by day."""
    return form.format(estimate.value), _ends(estimate.by_event, form), _ends(estimate.by_day, form)


def _ends(interval: "Interval | None", form: str) -> str:
    return "" if interval is None else f"{form.format(interval.low)} .. {form.format(interval.high)}"
