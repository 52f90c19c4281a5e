"""Markets of an exchange: contracts with their results, quotes, minute candles, fee terms, and strike tables."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from assets.common import (
    chart_metadata,
    check_specs,
    invariant_results,
    merged_results,
    recheck_symbols,
    symbol_asset,
    table_definition,
    table_metadata,
)
from assets.live_data import LIVE_INPUTS
from pipelines.domain.evaluation.desk_backtest import Assumptions
from pipelines.domain.evaluation.market_checks import (
    check_candles_not_crossed,
    check_ladders,
    check_minutes,
    check_own_results,
    check_partitions,
    check_quote_ages,
    check_quotes_not_crossed,
    check_results_agree,
    check_settled,
)
from pipelines.domain.evaluation.recorded_quotes import NO_CANDLES
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.models.invariants import CheckResult, merge_results
from pipelines.domain.monitoring.alerts import MIN_DAYS_AHEAD
from pipelines.evaluation.desk_presentation import BACKTEST_HEADER, backtest_charts, backtest_row
from pipelines.evaluation.desk_runs import (
    backtest,
    changed_rules,
    check_backtests,
    count_variants,
    read_backtest_inputs,
    replay_series,
    store_backtest,
)
from pipelines.markets.backfill import DAYS, BackfillPlan, Report, backfill_plan, fetch_fees, fetch_markets
from pipelines.markets.candle_backfill import fetch_candles
from pipelines.processes.run_titles import LOCATION, REPOSITORY
from pipelines.resources import SYMBOLS, DatabaseResource, SettingsResource, markdown_table
from pipelines.storage.evaluation.edge import StoredSeries, read_candles, read_closed_markets, read_series
from pipelines.storage.live.day_partitions import count_days_ahead
from pipelines.storage.live.sessions import session_lock_is_held
from pipelines.storage.markets.market_checks import (
    count_rows,
    read_index_values,
    read_quote_ages,
    read_quote_counts,
)
from pipelines.storage.postgres.connection import Connection

#: Checks are of the markets that closed, and of the quotes received, in these last days.
CHECKED = timedelta(days=DAYS)
POOL = "market_backfill"
MARKET_CHECKS = {
    "results_of_an_event_agree": "Some value of the index gives all results of an event: no YES is above a NO.",
    "results_match_the_index": "Each result is what the market's own strikes say of the value that it settled on.",
    "closed_markets_are_settled": "Markets that closed more than three hours ago have a final result.",
}
#: The others fail. None blocks: candles are fetched all the same, because they are not asked for later.
MARKET_WARNINGS = {"closed_markets_are_settled"}
#: A backtest covers the markets that close in this time before the last one.
BACKTESTED = timedelta(days=91)
DESK_CHECKS = {
    "every_trade_has_ended": "Each trade of the backtests was settled, refunded, sold or cancelled.",
    "books_balance": "The balances of each backtest's book add up to zero, and its gain is that of its trades.",
}
CANDLE_CHECKS = {
    "ladder_monotone": "The price of a higher strike is not above that of a lower one by more than the spreads.",
    "candles_not_crossed": "No minute ends with a bid above the ask.",
    "minutes_have_candles": "At most 2 % of the minutes of events have no candle of any market.",
}
QUOTE_CHECKS = {
    "quotes_not_crossed": "No quote has bids for YES and for NO that add up to more than a dollar.",
    "quotes_are_recent": "While a live session records an open event, its newest quote is at most three minutes old.",
    "partitions_are_ahead": f"There are partitions for the next {MIN_DAYS_AHEAD} days.",
}


class MarketBackfill(dg.Config):
    """What to fetch."""

    days: int = Field(default=DAYS, ge=1, le=365, description="Markets that closed in so many last days.")


def _span(series: StoredSeries, now: datetime) -> tuple[datetime, datetime]:
    """The CHECKED days before the newest close of a series, or before `now`: since (included), until (excluded)."""
    until = min(series.last_close_at, now) + timedelta(seconds=1)
    return until - CHECKED, until


def _market_results(connection: Connection, symbol: str, now: datetime) -> list[dg.AssetCheckResult]:
    results = [check_settled([], now), check_own_results([], {}), check_results_agree([])]
    for series in read_series(connection, symbol):
        of = (symbol, series.exchange, series.series_ticker, *_span(series, now))
        stored = read_closed_markets(connection, *of)
        values = read_index_values(connection, *of)
        results += [
            check_settled(stored.markets, now),
            check_own_results(stored.markets, values, stored.refused),
            check_results_agree(stored.markets),
        ]
    return invariant_results(merge_results(results), MARKET_WARNINGS)


def recheck_markets(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Check the stored markets."""
    with database.transaction("market checks") as connection:
        return _market_results(connection, symbol, datetime.now(UTC))


def _candle_results(connection: Connection, symbol: str, now: datetime) -> list[dg.AssetCheckResult]:
    checks = (check_ladders, check_candles_not_crossed, check_minutes)
    results: list[CheckResult] = [check([], NO_CANDLES) for check in checks]
    for series in read_series(connection, symbol):
        of = (symbol, series.exchange, series.series_ticker, *_span(series, now))
        stored = read_closed_markets(connection, *of)
        candles = read_candles(connection, *of, stored)
        results += [check(stored.markets, candles) for check in checks]
    return invariant_results(merge_results(results), CANDLE_CHECKS)


def recheck_candles(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Check the stored candles."""
    with database.transaction("market_candle checks") as connection:
        return _candle_results(connection, symbol, datetime.now(UTC))


def _plan(context: dg.AssetExecutionContext, config: MarketBackfill, settings: SettingsResource) -> BackfillPlan | None:
    """The plan of a run; None without a source of markets. Raises MarketError while the exchange is not up."""
    settings.values.require_symbol(context.partition_key)
    if settings.values.markets.source is MarketSource.NONE:
        context.log.info("no source of markets: markets.source is none")
        return None
    return backfill_plan(settings.values, context.partition_key, datetime.now(UTC), config.days)


def _facts(plan: BackfillPlan | None, report: Report | None) -> dict[str, Any]:
    """Counts of a report, and what was refused, missing or failed, as tables."""
    if plan is None or report is None:
        return {"source": "none"}
    values = asdict(report)
    counts = {name: value for name, value in values.items() if isinstance(value, int)}
    tables = {name: value for name, value in values.items() if isinstance(value, list)}
    return {
        "source": plan.exchange,
        "series": ", ".join(plan.series) or "none",
        "since": dg.MetadataValue.timestamp(plan.since),
        "until": dg.MetadataValue.timestamp(plan.until),
        **counts,
        **{name: _table(rows) for name, rows in tables.items()},
    }


def _table(rows: Sequence[Any]) -> dg.MarkdownMetadataValue:
    if rows and isinstance(rows[0], dict):
        return markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    return markdown_table(("problem",), [(row,) for row in rows])


@symbol_asset(
    "api",
    table="market_data.market",
    warns=MARKET_CHECKS,
    recheck=recheck_markets,
    pool=POOL,
)
def market(
    context: dg.AssetExecutionContext, config: MarketBackfill, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Contracts as the exchange describes them, with strikes, life and result: market_data.market.

    The live session stores those of its events; this asset adds closed markets that it has missed, and results.
    """
    plan = _plan(context, config, settings)
    report = None if plan is None else fetch_markets(database.database, plan, context.log.info)
    with database.transaction("market") as connection:
        rows = count_rows(connection, "market", context.partition_key)
        table = table_metadata(rows)
        results = _market_results(connection, context.partition_key, datetime.now(UTC))
    return dg.MaterializeResult(metadata={**table, **_facts(plan, report)}, check_results=results)


@symbol_asset("api", table="market_data.market_fee", pool=POOL)
def market_fee(
    context: dg.AssetExecutionContext, config: MarketBackfill, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Fee terms of series and of single events by date, as the exchange announces them: market_data.market_fee."""
    plan = _plan(context, config, settings)
    report = None if plan is None else fetch_fees(database.database, plan, context.log.info)
    with database.transaction("market_fee") as connection:
        rows = count_rows(connection, "market_fee", context.partition_key)
        table = table_metadata(rows)
    return dg.MaterializeResult(metadata={**table, **_facts(plan, report)})


market_quote = dg.AssetSpec(
    "market_quote",
    deps=["market"],
    description="Best bids for YES and NO with their sizes, when they change and once a minute, as the live session "
    "receives them: market_data.market_quote, one partition per day.",
    kinds={"postgres"},
    code_version="1",
    partitions_def=SYMBOLS,
    metadata=table_definition("market_data.market_quote"),
)


def _candle_lineage() -> dict[str, list[tuple[str, str]]]:
    points = ("open", "high", "low", "close")
    bids = {f"yes_bid_{point}": [("market_quote", "yes_bid")] for point in points}
    asks = {f"yes_ask_{point}": [("market_quote", "no_bid")] for point in points}
    return {**bids, **asks, "volume": [("market_quote", "volume")]}


@symbol_asset(
    "api",
    table="market_data.market_candle",
    deps=["market", "market_quote"],
    warns=CANDLE_CHECKS,
    recheck=recheck_candles,
    pool=POOL,
)
def market_candle(
    context: dg.AssetExecutionContext, config: MarketBackfill, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Minutes of bid and ask of YES, of the last hour of each market: market_data.market_candle.

    The exchange's candles; minutes for which it has none are computed from stored quotes.
    """
    plan = _plan(context, config, settings)
    report = None if plan is None else fetch_candles(database.database, plan, context.log.info)
    with database.transaction("market_candle") as connection:
        table = table_metadata(lineage=_candle_lineage())
        results = _candle_results(connection, context.partition_key, datetime.now(UTC))
    return dg.MaterializeResult(metadata={**table, **_facts(plan, report)}, check_results=results)


@dg.multi_asset_check(specs=check_specs("market_quote", QUOTE_CHECKS, blocking=False))
def market_quote_checks(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckResult]:
    """Check the stored quotes, and that they are being recorded."""

    def results(symbol: str) -> list[dg.AssetCheckResult]:
        source, now = settings.values.markets.source, datetime.now(UTC)
        with database.transaction("market_quote checks") as connection:
            records = source is not MarketSource.NONE and session_lock_is_held(connection)
            ages = read_quote_ages(connection, symbol, str(source), now) if records else []
            checks = [
                check_quotes_not_crossed(read_quote_counts(connection, symbol, now - CHECKED, now)),
                check_quote_ages(ages, now),
                check_partitions(count_days_ahead(connection), MIN_DAYS_AHEAD),
            ]
        return invariant_results(checks, QUOTE_CHECKS)

    yield from merged_results(recheck_symbols(context, results))


@symbol_asset(
    "numpy",
    "matplotlib",
    table="analytics.desk_backtest",
    deps=["price_history", "market", "market_candle", "market_fee"],
    warns=DESK_CHECKS,
    pool="calibration",
)
def desk_backtest(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """The paper desk by its rules on the recorded quotes of the newest quarter: gains with intervals, in dollars."""
    symbol, model = context.partition_key, settings.values.model
    with database.transaction("desk_backtest") as connection:
        inputs = read_backtest_inputs(connection, symbol, model, newest=BACKTESTED)
    replayed, refused = replay_series(inputs, model, context.log.info)
    rules = changed_rules(settings.values.desk, [])
    found = [backtest(one, rules, Assumptions()) for one in replayed]
    with database.transaction("desk_backtest") as connection:
        for one in found:
            store_backtest(connection, one, context.run.run_id)
        variants = [count_variants(connection, one) for one in found]
        table = table_metadata(len(found))
    counted = list(zip(found, variants, strict=True))
    return dg.MaterializeResult(
        metadata={
            **table,
            "gains": markdown_table(BACKTEST_HEADER, (backtest_row(*one) for one in counted)),
            "not_replayed": markdown_table(
                ("series", "exchange", "reason"), ((name, exchange, why) for (exchange, name), why in refused.items())
            ),
            "assumed": markdown_table(
                ("series", "assumed"), ((one.run.series_ticker, note) for one in found for note in one.notes)
            ),
            "rejections": markdown_table(
                ("series", "why a market was not entered", "times"),
                (
                    (one.run.series_ticker, str(reason), count)
                    for one in found
                    for reason, count in one.report.rejections.items()
                ),
            ),
            **chart_metadata(context, backtest_charts(counted), settings, database, symbol),
        },
        check_results=invariant_results(check_backtests(found), DESK_CHECKS),
    )


strike_table = dg.AssetSpec(
    "strike_table",
    deps=[*LIVE_INPUTS, "market_quote", "edge_score"],
    description="`{symbol}_strike_table.json`: the 21 strikes nearest to the price with the market's bids and asks, "
    "the model's probability and the edge after fees, replaced every second by the job "
    f"[`live_refresh`](/locations/{LOCATION}/jobs/live_refresh), where a source of markets is configured; a symbol's "
    "further series have files of their own. The asset itself cannot be materialized.",
    kinds={"json", "file"},
    metadata={"job": dg.MetadataValue.job("live_refresh", LOCATION, repository_name=REPOSITORY)},
)
