"""`strikecast desk backtest`: run the paper desk on the stored quotes of settled markets."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, no_markets, reading_settings
from pipelines.deployment import scoring_databases
from pipelines.errors import NoDataError

if TYPE_CHECKING:  # importing numpy would delay every command
    from pipelines.domain.evaluation.desk_report import DeskReport
    from pipelines.domain.evaluation.edge import Estimate
    from pipelines.domain.evaluation.scoring import Interval
    from pipelines.evaluation.desk_runs import SeriesBacktest

app = typer.Typer()
GROUP_TITLES = {"ttc_minutes": "by minutes to the close at the signal", "side": "by side"}


@app.command()
def backtest(
    symbol: Symbol,
    series: Annotated[str | None, typer.Option(help="Only this series, such as KXBTCD.")] = None,
    start: Annotated[datetime | None, typer.Option("--from", help="Only markets that close from then on, UTC.")] = None,
    stop: Annotated[datetime | None, typer.Option("--to", help="Only markets that close before then, UTC.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value of a rule, such as min_edge_usd=0.03; may be repeated."),
    ] = None,
    shown: Annotated[
        int, typer.Option("--shown", min=1, help="Contracts that each quote is taken to show; candles have no sizes.")
    ] = 10,
    result_delay: Annotated[
        int, typer.Option("--result-delay", min=0, max=86_400, help="Seconds from a close until its result is known.")
    ] = 300,
    store: Annotated[
        bool,
        typer.Option("--store", help="Store the report, and count the variant; needs the role strikecast_pipeline."),
    ] = False,
    json: Json = False,
) -> None:
    """Run the paper desk on the stored quotes of settled markets, by the function that trades live.

    The model is fitted on bars before each day, the basis on quotes before each minute, and an order meets the quotes
    of the next minute at the earliest. Gains are shown with 95 % intervals that resample events or days, and with the
    number of variants that were stored for these quotes: the best of many looks good by chance.

    Examples: `strikecast desk backtest BTC`, `strikecast desk backtest BTC --from 2025-04-15 --to 2025-04-22`,
    `strikecast desk backtest BTC --set probability=pool --set min_edge_usd=0.03 --store`
    """
    settings = reading_settings([symbol])
    from pipelines.domain.evaluation.desk_backtest import Assumptions
    from pipelines.evaluation import desk_runs
    from pipelines.storage.postgres.connection import Role
    from pipelines.storage.postgres.reading import read

    rules = desk_runs.changed_rules(settings.desk, changes or [])
    assumed = Assumptions(Decimal(shown), result_delay)
    since, until = (None if day is None else day.replace(tzinfo=UTC) for day in (start, stop))
    with scoring_databases(settings, console.log, store=store, needed_at=until) as (database, source):
        inputs = read(
            source,
            "desk_backtest",
            lambda connection: desk_runs.read_backtest_inputs(
                connection, symbol, settings.model, series=series, since=since, until=until
            ),
        )
        if not inputs.series:
            raise no_markets(symbol, series)
        console.log(f"quotes of {len(inputs.series)} series of {symbol} read")
        replayed, refused = desk_runs.replay_series(inputs, settings.model, console.log)
        found = [desk_runs.backtest(one, rules, assumed) for one in replayed]
        if store:
            with database.connect("desk_backtest", Role.PIPELINE) as connection:
                for one in found:
                    desk_runs.store_backtest(connection, one)
        variants = read(
            database,
            "desk_backtest",
            lambda connection: [desk_runs.count_variants(connection, one) for one in found],
        )
    if not found:
        reasons = "; ".join(f"{name} on {exchange}: {why}" for (exchange, name), why in refused.items())
        raise NoDataError(f"no series of {symbol} can be replayed: {reasons}")
    if json:
        reports = [one.as_json(count) for one, count in zip(found, variants, strict=True)]
        console.print_json({"symbol": symbol, "series": reports, "not_replayed": _refused_as_json(refused)})
        return
    for one, count in zip(found, variants, strict=True):
        _print_series(one, count, is_stored=store)
    for (exchange, name), why in refused.items():
        console.print_lines(f"{name} on {exchange} is not replayed: {why}")


def _refused_as_json(refused: Mapping[tuple[str, str], str]) -> list[dict[str, str]]:
    return [{"exchange": exchange, "series_ticker": name, "reason": why} for (exchange, name), why in refused.items()]


def _print_series(one: "SeriesBacktest", variants: int, *, is_stored: bool) -> None:
    run, report = one.run, one.report
    simulated = ", simulated markets" if run.exchange == "simulated" else ""
    title = (
        f"{run.series_ticker} on {run.exchange}{simulated}, {run.symbol}: {report.quotes:,} quotes of "
        f"{report.events:,} events that close on {report.days:,} days\n{report.first_at:%Y-%m-%d %H:%M} to "
        f"{report.last_at:%Y-%m-%d %H:%M} UTC, settled by {run.settlement}, model {run.model}"
    )
    names = ("gain after fees, USD", "value", "by event", "by day")
    rows = [
        (name, *_cells(estimate, form))
        for name, estimate, form in (
            ("in all", report.gain, "{:+.2f}"),
            ("per trade", report.per_trade, "{:+.4f}"),
            ("per contract", report.per_contract, "{:+.4f}"),
        )
        if estimate is not None
    ]
    console.print_table(names, rows, title=title, numbers=names[1:])
    console.print_lines("", *_variants(variants, is_stored=is_stored), "", *_counts(report), "")
    for dimension, group_title in GROUP_TITLES.items():
        _print_groups(report, dimension, group_title, variants)
    rejected = [(str(reason), f"{count:,}") for reason, count in report.rejections.items()]
    console.print_table(("why a market was not entered", "times"), rejected, numbers=("times",))
    console.print_lines("", *(f"assumed: {note}" for note in one.notes))
    console.print_lines(*(f"left out: {count:,} {reason}" for reason, count in one.left_out.items()))
    console.print_lines(*(f"refused: {refused}" for refused in one.refused), "")


def _variants(variants: int, *, is_stored: bool) -> list[str]:
    counted = f"{variants} variant{'s' if variants > 1 else ''} tried on these quotes, this one included"
    note = "" if is_stored else "; runs without --store are not counted"
    return [
        f"{counted}{note}",
        "intervals are those of one variant: of many, the best looks good by chance",
        "intervals of groups of few events are too narrow",
    ]


def _counts(report: "DeskReport") -> list[str]:
    stages = ", ".join(f"{count:,} {stage}" for stage, count in report.stages.items())
    trades = f"{report.trades:,} bought something in {report.traded_events:,} events"
    fills = f"{report.fills:,} fills, {report.contracts.normalize():,f} contracts for {report.bought_usd:,.2f} USD"
    costs = f"fees {report.fees_usd:,.4f} USD, largest drawdown {report.max_drawdown_usd:,.2f} USD"
    lines = [f"{report.signalled:,} trades signalled ({stages or 'none'}), {trades}", f"{fills}, {costs}"]
    if report.expected_per_contract is not None:
        expected = f"{report.expected_per_contract:+.4f} USD per contract"
        lines.append(f"edge at the signals, by the probability that the desk believed: {expected}")
    if report.breaches:
        lines.append(f"limits were reached {report.breaches:,} times")
    if report.unsettled:
        lines.append(f"{report.unsettled:,} trades have no result")
    return lines


def _print_groups(report: "DeskReport", dimension: str, title: str, variants: int) -> None:
    """A row per group: counts, the gain, and the gain per contract with intervals."""
    names = ("group", "trades", "events", "contracts", "gain, USD", "per contract", "by event", "by day")
    rows = [
        (
            one.level,
            f"{one.trades:,}",
            f"{one.events:,}",
            f"{one.contracts.normalize():,f}",
            f"{one.gain_usd:+.2f}",
            *_cells(one.per_contract, "{:+.4f}"),
        )
        for one in report.results
        if one.dimension == dimension
    ]
    if rows:
        tried = f"{variants} variant{'s' if variants > 1 else ''} tried"
        console.print_table(names, rows, title=f"gain {title}; {tried}", numbers=names[1:])
        console.print_lines("")


def _cells(estimate: "Estimate", form: str) -> Sequence[str]:
    """The value, and its intervals by event and by day."""
    return form.format(estimate.value), _ends(estimate.by_event, form), _ends(estimate.by_day, form)


def _ends(interval: "Interval | None", form: str) -> str:
    return "none" if interval is None else f"{form.format(interval.low)} .. {form.format(interval.high)}"
