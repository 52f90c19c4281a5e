"""Checks of stored markets, quotes and candles.

In a ladder, quotes of all markets of an event with one bound are compared as quotes of P(value at or above the bound):
those of YES where it is a floor, and those of NO where it is a cap. Markets with both bounds have no place in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from pipelines.domain.evaluation.recorded_quotes import Candles, SettledMarkets
from pipelines.domain.markets.candles import MINUTE, wanted_minutes
from pipelines.domain.markets.contracts import Market, MarketResult
from pipelines.domain.models.invariants import CheckResult
from pipelines.domain.prices.bars import Ints, minute_of_instant
from pipelines.domain.prices.ticks import EPOCH

#: The exchange settles an hourly market within minutes; a disputed result can take days.
SETTLED_WITHIN = timedelta(hours=3)
#: A recorded market without a result can be given one by another recording or a backfill; after this time none comes.
RESULT_WITHIN = timedelta(days=7)
#: A quote is stored when it changes and at the end of each minute; far markets are polled once a minute.
MAX_QUOTE_AGE = timedelta(minutes=3)
#: Of the minutes of all events, how many may be without a candle of any market. In a recording of 305 events with 18
#: strikes each, of which the exchange publishes candles of minutes with changes only, 0.55 % are.
MAX_MISSING_SHARE = 0.02
#: Of quotes, how many may be crossed, or be bids above the ask of a lower strike, which somebody is about to take: of
#: that recording, 1 candle of 370,303 is such a bid, and of another one, 1 order book of 38,786 is crossed.
MAX_BROKEN_SHARE = 0.0001
#: Prices are multiples of 0.0001 dollars; differences of floats are not.
TOLERANCE_USD = 1e-6
#: Examples in a detail.
SHOWN = 3


@dataclass(frozen=True)
class QuoteCounts:
    """Numbers of stored quotes, and of those that are crossed, with ticker and time (aware UTC) of the first ones."""

    quotes: int
    crossed: int
    first: Sequence[tuple[str, datetime]]


@dataclass(frozen=True)
class QuoteAge:
    """The open event of a series that closes next, since when it is open, and when its newest quote was received.

    Times are aware UTC; `newest_at`: None without a quote.
    """

    event_ticker: str
    opens_at: datetime
    newest_at: datetime | None

    def seconds(self, now: datetime) -> float:
        """Time since the newest quote, or since it opened."""
        return (now - max(self.newest_at or self.opens_at, self.opens_at)).total_seconds()


def check_settled(markets: Sequence[Market], now: datetime) -> CheckResult:
    """Every market that closed more than SETTLED_WITHIN before `now` (aware) has a final result of its own.

    Left out are markets of recordings that have no results, RESULT_WITHIN after their close. Markets of recordings have
    no price ranges; those that the exchange lists have some.
    """
    closed = [market for market in markets if market.closes_at <= now - SETTLED_WITHIN]
    judged = [
        one for one in closed if one.price_ranges or one.result is not None or one.closes_at > now - RESULT_WITHIN
    ]
    without = [f"{one.ticker} {one.status}" for one in judged if not one.is_settled]
    return CheckResult(
        "closed_markets_are_settled",
        len(without),
        len(judged),
        _examples(without),
        left_out=len(closed) - len(judged),
    )


def check_own_results(
    markets: Sequence[Market], index_values_usd: Mapping[str, Decimal], refused: Sequence[str] = ()
) -> CheckResult:
    """The result of each market is what its own strikes say of the value that it settled on.

    `index_values_usd`: by ticker, of the markets for which the exchange published it. `refused`: markets that
    contradict themselves, such as a YES that pays nothing, with the reason.
    """
    known = [
        one
        for one in markets
        if one.ticker in index_values_usd and one.is_settled and one.result in {MarketResult.YES, MarketResult.NO}
    ]
    wrong = [
        f"{one.ticker} {one.result} at {index_values_usd[one.ticker]}"
        for one in known
        if one.is_yes_at(index_values_usd[one.ticker]) != (one.result is MarketResult.YES)
    ]
    found = [*refused, *wrong]
    return CheckResult("results_match_the_index", len(found), len(known) + len(refused), _examples(found))


def check_results_agree(markets: Sequence[Market]) -> CheckResult:
    """For each event of a series, some value of the index gives all its results: no YES is above a NO."""
    settled = SettledMarkets(markets)
    events = len(settled.event_tickers)
    return CheckResult("results_of_an_event_agree", len(settled.refused), events, _examples(settled.refused))


def check_ladders(markets: Sequence[Market], candles: Candles) -> CheckResult:
    """P(value at or above K) does not rise with K by more than the spreads: no bid is above the ask of a lower K.

    Counted are quotes at ends of minutes, of which MAX_BROKEN_SHARE may fail.
    """
    bounds = [market.bounds_usd() for market in markets]
    has_place = np.array([(low is None) != (high is None) for low, high in bounds], dtype=np.bool_)
    is_above = np.array([high is None for _, high in bounds], dtype=np.bool_)
    strikes = np.array([float(low if low is not None else high or 0) for low, high in bounds])
    rows = np.flatnonzero(has_place[candles.markets])
    own, bids, asks = candles.markets[rows], np.nan_to_num(candles.bids[rows]), np.nan_to_num(candles.asks[rows], nan=1)
    above = is_above[own]
    ladder = pl.DataFrame(
        {
            "row": rows,
            "event": [markets[market].event_ticker for market in own.tolist()],
            "instant": candles.instants[rows],
            "strike_usd": strikes[own],
            "bid": np.where(above, bids, 1 - asks),
            "ask": np.where(above, asks, 1 - bids),
        }
    ).sort("event", "instant", "strike_usd")
    lowest_before = pl.col("ask").cum_min().shift(1).over("event", "instant")
    broken = ladder.filter(pl.col("bid") > lowest_before + TOLERANCE_USD)["row"].to_numpy()
    detail = _candles(markets, candles, broken)
    return CheckResult("ladder_monotone", len(broken), len(ladder), detail, MAX_BROKEN_SHARE)


def check_candles_not_crossed(markets: Sequence[Market], candles: Candles) -> CheckResult:
    """No minute ends with a bid above the ask, except for MAX_BROKEN_SHARE."""
    crossed = np.flatnonzero(candles.bids > candles.asks + TOLERANCE_USD)
    total, detail = len(candles.markets), _candles(markets, candles, crossed)
    return CheckResult("candles_not_crossed", len(crossed), total, detail, MAX_BROKEN_SHARE)


def check_minutes(markets: Sequence[Market], candles: Candles) -> CheckResult:
    """Minutes of the last hour before an event's close have a candle of some market, except for MAX_MISSING_SHARE."""
    found: dict[str, set[int]] = {market.event_ticker: set() for market in markets}
    wanted: dict[str, set[int]] = {event: set() for event in found}
    for number, end in zip(candles.markets.tolist(), candles.instants.tolist(), strict=True):
        found[markets[number].event_ticker].add(end)
    for market in markets:
        minutes = wanted_minutes(market.opens_at, market.closes_at)
        first = minute_of_instant(minutes.first_at)
        wanted[market.event_ticker].update(range(first, first + len(minutes)))
    missing = {event: len(wanted[event] - found[event]) for event in wanted}
    worst = sorted((event for event in missing if missing[event]), key=lambda event: -missing[event])
    detail = _examples([f"{event} {missing[event]} min" for event in worst])
    total = sum(map(len, wanted.values()))
    return CheckResult("minutes_have_candles", sum(missing.values()), total, detail, MAX_MISSING_SHARE)


def check_quotes_not_crossed(quotes: QuoteCounts) -> CheckResult:
    """No stored quote has bids for YES and for NO that add up to more than a dollar, except for MAX_BROKEN_SHARE."""
    first = [f"{ticker} {at:%Y-%m-%d %H:%M:%S}" for ticker, at in quotes.first]
    detail = _examples(first, quotes.crossed)
    return CheckResult("quotes_not_crossed", quotes.crossed, quotes.quotes, detail, MAX_BROKEN_SHARE)


def check_quote_ages(ages: Sequence[QuoteAge], now: datetime) -> CheckResult:
    """The newest quote of each open event is at most MAX_QUOTE_AGE old at `now` (aware)."""
    limit = MAX_QUOTE_AGE.total_seconds()
    late = [f"{one.event_ticker} {one.seconds(now):.0f} s" for one in ages if one.seconds(now) > limit]
    return CheckResult("quotes_are_recent", len(late), len(ages), _examples(late))


def check_partitions(days_ahead: int, expected: int) -> CheckResult:
    """There are partitions of the next `expected` days."""
    return CheckResult("partitions_are_ahead", max(0, expected - days_ahead), expected, f"{days_ahead} days ahead")


def _candles(markets: Sequence[Market], candles: Candles, rows: Ints) -> str:
    """The tickers and minutes of the first candles, and how many more there are."""
    shown = [
        f"{markets[candles.markets[row]].ticker} {EPOCH + int(candles.instants[row]) * MINUTE:%Y-%m-%d %H:%M}"
        for row in np.sort(rows)[:SHOWN]
    ]
    return _examples(shown, len(rows))


def _examples(found: Sequence[str], total: int | None = None) -> str:
    """The first of them, and how many more there are."""
    more = (len(found) if total is None else total) - SHOWN
    return ", ".join(found[:SHOWN]) + (f", and {more:,} more" if more > 0 else "")
