"""Fetch what is missing of closed markets: results, fee terms, and candles.

What is fetched is stored at once, so that an interrupted run resumes where it stopped; what was fetched is not asked
for again. A failing market, event or series does not stop the others: each failure is reported with its reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pipelines.domain.markets.fees import FeePeriod, FeeSchedule
from pipelines.domain.markets.listings import Event, Listing, Refused
from pipelines.domain.markets.settlement import MARKET_RULE
from pipelines.errors import MarketError
from pipelines.log import Log
from pipelines.markets.tickers import MARKETS_PER_QUESTION, chunks
from pipelines.settings import Settings
from pipelines.storage.markets.backfill import ClosedMarket, read_closed
from pipelines.storage.markets.fees import store_fees
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Connection, Database, Role

if TYPE_CHECKING:  # the exchange's client takes 21 MB, which the code location's process does not need
    from pipelines.markets.client import ClientSettings, MarketClient

#: Markets that closed in the last days, by default.
DAYS = 3
DAY = timedelta(days=1)
#: The exchange may not have published the candles of the last minutes.
PUBLISHED_AFTER = timedelta(minutes=10)
#: Share of the permitted requests: the live session asks at the same time.
REQUEST_SHARE = 0.5
#: Nothing more is asked after so many failures in succession.
MAX_FAILURES = 5
NOT_ASKED = f"not asked, after {MAX_FAILURES} failures in succession"

T = TypeVar("T")
R = TypeVar("R", bound="Report")


@dataclass(frozen=True)
class BackfillPlan:
    """What to fetch from an exchange: markets of a symbol's series that closed in (since, until] (aware UTC)."""

    exchange: str
    symbol: str
    series: tuple[str, ...]
    since: datetime
    until: datetime
    now: datetime
    client: "ClientSettings"


def backfill_plan(settings: Settings, symbol: str, now: datetime, days: int = DAYS) -> BackfillPlan:
    """The plan for the configured source. `now`: aware UTC.

    Raises SettingsError for a symbol that is not configured, and MarketError without a source, or while the simulated
    exchange is not up.
    """
    from pipelines.markets.address import market_url
    from pipelines.markets.client import ClientSettings

    settings.require_symbol(symbol)
    rate = settings.markets.requests_per_second * REQUEST_SHARE
    client = ClientSettings(market_url(settings), requests_per_second=rate, source=settings.markets.source)
    until = now - PUBLISHED_AFTER
    series = settings.symbols[symbol].series
    return BackfillPlan(str(settings.markets.source), symbol, series, until - days * DAY, until, now, client)


@dataclass
class Report:
    """Result of a part of a backfill. `problems`: what failed, with the reason."""

    problems: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How much was answered."""
        raise NotImplementedError


@dataclass
class MarketsReport(Report):
    """Closed markets: those that the exchange listed, those that got a final result, and those still without one.

    `refused`: markets that cannot be used, or are no longer listed.
    """

    listed: int = 0
    settled: int = 0
    unsettled: int = 0
    refused: list[Refused] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.listed


@dataclass
class FeesReport(Report):
    """Series whose fee terms were stored, and how many periods they have; `events`: those with terms of their own."""

    series: int = 0
    periods: int = 0
    events: int = 0

    @property
    def done(self) -> int:
        return self.series


def fetch_markets(database: Database, plan: BackfillPlan, log: Log = lambda _: None) -> MarketsReport:
    """Store closed markets as the exchange describes them now, each with the result of its own ticker.

    Markets without a final result that it no longer lists are asked for by ticker. Raises MarketError when nothing was
    answered.
    """
    return run_backfill(database, plan, log, MarketsReport(), _fetch_markets)


def fetch_fees(database: Database, plan: BackfillPlan, log: Log = lambda _: None) -> FeesReport:
    """Store the fee terms of the series, and those of their events, open or closed in the plan's days, that differ.

    Raises MarketError when nothing was answered.
    """
    return run_backfill(database, plan, log, FeesReport(), _fetch_fees)


@dataclass
class BackfillRun:
    """Asks the exchange, until it could not be reached, or failed, MAX_FAILURES times in succession."""

    database: Database
    plan: BackfillPlan
    client: "MarketClient"
    log: Log
    outages: int = 0

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer. Raises MarketError."""
        from pipelines.markets.client import is_temporary

        if self.outages >= MAX_FAILURES:
            raise MarketError(NOT_ASKED)
        try:
            answer = await question()
        except MarketError as error:
            self.outages = self.outages + 1 if is_temporary(error) else 0
            self.log(str(error))
            raise
        self.outages = 0
        return answer

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with self.database.connect("market backfill", Role.PIPELINE) as connection:
            yield connection

    def closed(self, series: str) -> list[ClosedMarket]:
        plan = self.plan
        with self.connection() as connection:
            return read_closed(connection, plan.exchange, plan.symbol, series, plan.since, plan.until)


def run_backfill(
    database: Database,
    plan: BackfillPlan,
    log: Log,
    report: R,
    fetch: Callable[[BackfillRun, R], Awaitable[None]],
) -> R:
    """Fetch into the report. Raises MarketError when all that was asked for failed."""
    from pipelines.markets.client import MarketClient

    async def ask() -> None:
        async with MarketClient(plan.client) as client:
            await fetch(BackfillRun(database, plan, client, log), report)

    asyncio.run(ask())
    if report.problems and not report.done:
        raise MarketError("; ".join(report.problems))
    return report


async def _fetch_markets(run: BackfillRun, report: MarketsReport) -> None:
    for series in run.plan.series:
        before = {one.ticker: one.is_settled for one in run.closed(series)}
        listed = await _list_closed(run, series, report)
        others = [ticker for ticker, is_settled in before.items() if not is_settled and ticker not in listed]
        for together in chunks(others, MARKETS_PER_QUESTION):
            try:
                found = await run.ask(partial(run.client.markets_of, together))
            except MarketError as error:
                report.problems.append(f"{len(together)} markets of {series} without a result: {error}")
            else:
                listed |= _store(run, [one.of_series(series) for one in found.listings])
                report.refused += found.refused
        after = {one.ticker: one.is_settled for one in run.closed(series)}
        report.listed += len(listed)
        report.settled += sum(is_settled and not before.get(ticker) for ticker, is_settled in after.items())
        report.unsettled += sum(not is_settled for is_settled in after.values())


async def _list_closed(run: BackfillRun, series: str, report: MarketsReport) -> set[str]:
    """Store the markets of a series that the exchange lists as closed, a day at a time; returns their tickers."""
    plan, listed = run.plan, set[str]()
    for start, end in days_between(plan.since, plan.until):
        try:
            found = await run.ask(partial(run.client.markets, series, None, closing=(start, end)))
        except MarketError as error:
            report.problems.append(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC: {error}")
        else:
            listed |= _store(run, [one for one in found.listings if start < one.market.closes_at <= end])
            report.refused += found.refused
    return listed


def _store(run: BackfillRun, listings: Iterable[Listing]) -> set[str]:
    """Store markets; returns their tickers."""
    records = {one.market.ticker: MarketRecord(run.plan.symbol, MARKET_RULE, one) for one in listings}
    with run.connection() as connection:
        upsert_markets(connection, run.plan.exchange, list(records.values()))
    return set(records)


async def _fetch_fees(run: BackfillRun, report: FeesReport) -> None:
    for series in run.plan.series:
        try:
            schedule = await run.ask(partial(run.client.fee_schedule, series))
        except MarketError as error:
            report.problems.append(str(error))
            continue
        with run.connection() as connection:
            store_fees(connection, run.plan.exchange, series, schedule, run.plan.now)
        report.series += 1
        report.periods += len(schedule.periods)
        try:
            events, _ = await run.ask(
                partial(run.client.events, series, None, closing_after=run.plan.since, with_markets=False)
            )
        except MarketError as error:
            report.problems.append(str(error))
        else:
            report.events += _store_event_fees(run, series, schedule, events)


def _store_event_fees(run: BackfillRun, series: str, schedule: FeeSchedule, events: Iterable[Event]) -> int:
    """Store the terms of events that have their own; returns how many have."""
    usual, now = schedule.terms_at(run.plan.now), run.plan.now
    own = [one for one in events if one.fee_type is not None or one.fee_multiplier is not None]
    with run.connection() as connection:
        for event in own:
            terms = FeeSchedule((FeePeriod(event.fee_terms(usual)),))
            store_fees(connection, run.plan.exchange, series, terms, now, event.ticker)
    return len(own)


def days_between(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A range in parts of a day at most."""
    while since < until:
        end = min(since + DAY, until)
        yield since, end
        since = end
