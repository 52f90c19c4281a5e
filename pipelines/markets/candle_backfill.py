"""Fetch the candles of closed markets, and derive others from stored quotes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby

from pipelines.domain.markets.candles import WANTED, MarketCandles, MinuteRange, wanted_minutes
from pipelines.domain.markets.listings import Refused
from pipelines.errors import MarketError
from pipelines.log import Log
from pipelines.markets.backfill import (
    MAX_FAILURES,
    NOT_ASKED,
    BackfillPlan,
    BackfillRun,
    Report,
    days_between,
    run_backfill,
)
from pipelines.storage.markets.backfill import ClosedMarket, count_candles, store_fetched
from pipelines.storage.markets.candles import CandleCounts, derive_candles
from pipelines.storage.postgres.connection import Database

#: Why a minute has no candle, where nothing failed; and where candles of its market cannot be used.
QUIET = "the exchange has no candle, and no quotes were stored"
REFUSED = "candles of the exchange are refused"


@dataclass(frozen=True)
class Missing:
    """Minutes of markets that have no candle, for one reason."""

    reason: str
    markets: int
    minutes: int


@dataclass
class CandlesReport(Report):
    """Candles of the last hours of closed markets.

    `fetched`: markets whose candles the exchange gave now; `derived`: candles computed from stored quotes; `minutes`:
    of all markets, those that were wanted; `stored`, `missing`: those with and without a candle in the end.
    """

    fetched: int = 0
    inserted: int = 0
    corrected: int = 0
    unchanged: int = 0
    derived: int = 0
    minutes: int = 0
    stored: int = 0
    missing: list[Missing] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.fetched


def fetch_candles(database: Database, plan: BackfillPlan, log: Log = lambda _: None) -> CandlesReport:
    """Store the candles of closed markets that are stored without them, then derive others from stored quotes.

    Raises MarketError when nothing was answered.
    """
    return run_backfill(database, plan, log, CandlesReport(), _fetch_candles)


async def _fetch_candles(run: BackfillRun, report: CandlesReport) -> None:
    reasons: dict[str, str] = {}
    for series in run.plan.series:
        reasons |= await _fetch_series(run, series, report)
    for start, end in days_between(run.plan.since - WANTED, run.plan.until):
        with run.connection() as connection:
            report.derived += derive_candles(connection, start, end, exchange=run.plan.exchange, symbol=run.plan.symbol)
    for series in run.plan.series:
        closed = run.closed(series)
        with run.connection() as connection:
            stored = count_candles(connection, closed)
        _count_missing(closed, stored, reasons, report)


async def _fetch_series(run: BackfillRun, series: str, report: CandlesReport) -> dict[str, str]:
    """Store the exchange's candles of a series, newest first; returns why they are not complete, by ticker."""
    wanted = {
        one: wanted_minutes(one.opens_at, one.closes_at) for one in run.closed(series) if one.candles_fetched_at is None
    }
    with run.connection() as connection:
        published = count_candles(connection, list(wanted), published=True)
    unfetched = [one for one, minutes in wanted.items() if published[one.market_id] < len(minutes)]
    run.log(f"{series}: {len(unfetched):,} closed markets without the exchange's candles")
    failed: dict[str, str] = {}
    refused: list[Refused] = []
    cutoff = await _cutoff(run, report) if unfetched else None
    unfetched.sort(key=lambda one: (wanted[one].last_at, wanted[one].first_at), reverse=True)
    for minutes, group in groupby(unfetched, key=lambda one: wanted[one]):
        markets = list(group)
        is_historical = cutoff is not None and minutes.last_at < cutoff
        found = await _candles_of(run, None if is_historical else series, markets, minutes, failed)
        numbers = {one.ticker: one.market_id for one in markets}
        with run.connection() as connection:
            fetched = [(numbers[one.ticker], one) for one in found]
            _add(report, store_fetched(connection, fetched, run.plan.now))
        refused += [one.refused[0] for one in found if one.refused]
        report.fetched += sum(not one.refused for one in found)
    report.problems += [f"candles of {n:,} markets of {series}: {why}" for why, n in Counter(failed.values()).items()]
    if refused:
        example = f"{refused[0].ticker}: {refused[0].reason}"
        report.problems.append(f"candles of {len(refused):,} markets of {series} are refused, such as {example}")
    return failed | {one.ticker: REFUSED for one in refused}


async def _cutoff(run: BackfillRun, report: CandlesReport) -> datetime | None:
    """Candles of markets settled before it are in the historical part of the API; None when it is not known."""
    try:
        return (await run.ask(run.client.historical_cutoff)).market_settled_at
    except MarketError as error:
        report.problems.append(str(error))
        return None


async def _candles_of(
    run: BackfillRun,
    series: str | None,
    markets: Sequence[ClosedMarket],
    minutes: MinuteRange,
    reasons: dict[str, str],
) -> list[MarketCandles]:
    """Candles of markets with the same minutes; `series`: None in the historical part. Failures go to `reasons`.

    The markets are asked for together, and one by one where the exchange refuses that.
    """
    from pipelines.markets.client import is_temporary

    tickers = [one.ticker for one in markets]
    if series is not None:
        try:
            return await run.ask(partial(run.client.candles, tickers, minutes))
        except MarketError as error:
            if is_temporary(error) or len(markets) == 1:
                reasons |= dict.fromkeys(tickers, str(error))
                return []
    found, failures = [], 0
    for ticker in tickers:
        if failures == MAX_FAILURES:
            reasons[ticker] = NOT_ASKED
            continue
        try:
            found.append(await run.ask(partial(run.client.candles_of, ticker, series, minutes)))
            failures = 0
        except MarketError as error:
            reasons[ticker] = str(error).removeprefix(f"candles of {ticker}: ")
            failures += 1
    return found


def _add(report: CandlesReport, counts: CandleCounts) -> None:
    report.inserted += counts.inserted
    report.corrected += counts.corrected
    report.unchanged += counts.unchanged


def _count_missing(
    markets: Iterable[ClosedMarket], stored: Counter[int], reasons: dict[str, str], report: CandlesReport
) -> None:
    by_reason = {one.reason: one for one in report.missing}
    for market in markets:
        minutes = len(wanted_minutes(market.opens_at, market.closes_at))
        missing = max(0, minutes - stored[market.market_id])
        report.minutes += minutes
        report.stored += minutes - missing
        if missing:
            reason = reasons.get(market.ticker, QUIET)
            known = by_reason.get(reason, Missing(reason, 0, 0))
            by_reason[reason] = Missing(reason, known.markets + 1, known.minutes + missing)
    report.missing = list(by_reason.values())
