"""Checks of stored markets, quotes and candles: each passes on good data, and names what is bad."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import recorded_markets
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.evaluation.market_checks import (
    MAX_QUOTE_AGE,
    RESULT_WITHIN,
    SETTLED_WITHIN,
    QuoteAge,
    QuoteCounts,
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
from pipelines.domain.evaluation.recorded_quotes import Candles
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, PriceRange, StrikeType
from pipelines.domain.models.invariants import merge_results

CLOSE = datetime(2026, 3, 21, 10, tzinfo=UTC)
GREATER, LESS, BETWEEN = StrikeType.GREATER, StrikeType.LESS, StrikeType.BETWEEN
YES, NO = MarketResult.YES, MarketResult.NO


def market(
    ticker: str,
    floor: str | None = None,
    cap: str | None = None,
    result: MarketResult | None = None,
    **changes: Any,
) -> Market:
    """A market that settled; `greater` of a floor, `less` of a cap, or between both."""
    kind = BETWEEN if floor and cap else GREATER if floor else LESS
    values: dict[str, Any] = {
        "ticker": ticker,
        "event_ticker": "E",
        "series_ticker": "S",
        "strike_type": kind,
        "floor_strike": None if floor is None else Decimal(floor),
        "cap_strike": None if cap is None else Decimal(cap),
        "opens_at": CLOSE - timedelta(hours=1),
        "closes_at": CLOSE,
        "price_ranges": (),
        "status": MarketStatus.FINALIZED,
        "result": result,
    }
    return Market(**{**values, **changes})


def closes(*rows: tuple[int, int, str | None, str | None]) -> Candles:
    """Quotes at ends of minutes: position of the market, minutes before its close, bid and ask."""
    at = round(CLOSE.timestamp()) // 60
    return Candles(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([at - row[1] for row in rows], dtype=np.int64),
        np.array([float(row[2] or 0) for row in rows]),
        np.array([float(row[3] or 1) for row in rows]),
    )


LADDER = [market("A", "99.99"), market("B", "199.99"), market("C", "299.99")]


def test_a_ladder_that_falls_with_the_strike_is_monotone() -> None:
    quotes = closes((0, 5, "0.80", "0.84"), (1, 5, "0.50", "0.53"), (2, 5, "0.10", "0.12"))
    found = check_ladders(LADDER, quotes)
    assert (found.passed, found.failed, found.total) == (True, 0, 3)


def test_a_rise_within_the_spreads_is_none() -> None:
    # Mids of 0.50 and 0.52: nobody can sell the one above what the other costs.
    assert check_ladders(LADDER, closes((0, 5, "0.47", "0.53"), (1, 5, "0.52", "0.52"))).passed


@pytest.mark.parametrize("minute_of_the_other", [5, 6])
def test_a_bid_above_the_ask_of_a_lower_strike_is_named(minute_of_the_other: int) -> None:
    quotes = closes((0, minute_of_the_other, "0.47", "0.53"), (1, 5, None, None), (2, 5, "0.5301", "0.60"))
    found = check_ladders(LADDER, quotes)
    if minute_of_the_other == 5:
        assert (found.failed, found.detail) == (1, "C 2026-03-21 09:55")
    else:
        assert found.passed


def test_events_are_ladders_of_their_own() -> None:
    other = [LADDER[0], replace(LADDER[1], event_ticker="F")]
    assert check_ladders(other, closes((0, 5, "0.47", "0.53"), (1, 5, "0.80", "0.90"))).passed


def test_markets_below_a_cap_are_the_other_side_of_the_ladder_and_ranges_have_no_place() -> None:
    markets = [market("A", None, "100"), market("B", "199.99"), market("R", "100", "199.99")]
    # Below 100 at 0.30 to 0.34 is at or above 100 at 0.66 to 0.70.
    assert check_ladders(markets, closes((0, 5, "0.30", "0.34"), (1, 5, "0.70", "0.75"), (2, 5, "0.9", "0.95"))).passed
    found = check_ladders(markets, closes((0, 5, "0.30", "0.34"), (1, 5, "0.71", "0.75")))
    assert (found.failed, found.total, found.detail) == (1, 2, "B 2026-03-21 09:55")


def test_strikes_are_compared_exactly() -> None:
    markets = [market("A", "118499.99"), market("B", "118500", strike_type=StrikeType.GREATER_OR_EQUAL)]
    found = check_ladders(markets, closes((0, 5, "0.20", "0.25"), (1, 5, "0.40", "0.45")))
    assert found.total == 2  # the same bound, so that either may be dearer in the order of rows only
    assert check_ladders([], closes()).total == 0


@given(st.lists(st.integers(1, 99), min_size=2, max_size=8), st.data())
def test_the_ladder_check_agrees_with_comparing_all_pairs(bids: list[int], data: st.DataObject) -> None:
    asks = [data.draw(st.integers(bid, 99)) for bid in bids]
    markets = [market(f"M{i}", f"{100 + i}.99") for i in range(len(bids))]
    rows = [(i, 5, f"0.{bid:02}", f"0.{ask:02}") for i, (bid, ask) in enumerate(zip(bids, asks, strict=True))]
    broken = [j for j in range(len(bids)) if any(bids[j] > asks[i] for i in range(j))]
    assert check_ladders(markets, closes(*rows)).failed == len(broken)


def test_a_crossed_candle_is_named() -> None:
    good = closes((0, 5, "0.47", "0.53"), (0, 4, None, "0.53"), (0, 3, "0.47", None), (0, 2, None, None))
    assert check_candles_not_crossed(LADDER, good).passed
    assert check_candles_not_crossed(LADDER, closes((0, 5, "0.53", "0.53"))).passed, "locked"
    found = check_candles_not_crossed(
        LADDER, closes((0, 5, "0.54", "0.53"), (1, 5, "0.5301", "0.53"), (2, 5, "0", "1"))
    )
    assert (found.passed, found.failed, found.total) == (False, 2, 3)
    assert found.detail == "A 2026-03-21 09:55, B 2026-03-21 09:55"


def test_crossed_quotes_are_counted_and_the_first_are_named() -> None:
    assert check_quotes_not_crossed(QuoteCounts(100, 0, ())).passed
    assert check_quotes_not_crossed(QuoteCounts(10_000, 1, [("T", CLOSE)])).passed
    found = check_quotes_not_crossed(QuoteCounts(10_000, 5, [(f"T{i}", CLOSE) for i in range(3)]))
    assert (found.passed, found.failed, found.total) == (False, 5, 10_000)
    assert found.detail == "T0 2026-03-21 10:00:00, T1 2026-03-21 10:00:00, T2 2026-03-21 10:00:00, and 2 more"


def test_a_market_that_is_not_settled_hours_after_its_close_is_named() -> None:
    now = CLOSE + SETTLED_WITHIN
    open_ = market("OPEN", "1", status=MarketStatus.ACTIVE, closes_at=now + timedelta(hours=1))
    just_closed = market("NEW", "1", status=MarketStatus.CLOSED, closes_at=CLOSE + timedelta(minutes=1))
    settled = [market("A", "1", result=YES), market("B", "2", result=MarketResult.VOID)]
    assert check_settled([open_, just_closed, *settled], now) == replace(check_settled(settled, now), total=2)
    bad = [
        market("C", "1", status=MarketStatus.CLOSED),
        market("D", "1", result=NO, status=MarketStatus.DISPUTED),
        market("E", "1"),
    ]
    found = check_settled([*settled, *bad], now)
    assert (found.failed, found.total, found.detail) == (3, 5, "C closed, D disputed, E finalized")
    assert check_settled(bad, now - timedelta(seconds=1)).passed


def test_recorded_markets_that_never_had_a_result_are_counted_and_left_out_after_a_week() -> None:
    ranges = (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
    recorded = market("R", "1", status=MarketStatus.CLOSED)
    listed = market("L", "1", status=MarketStatus.CLOSED, price_ranges=ranges)
    disputed = market("D", "1", result=NO, status=MarketStatus.DISPUTED)
    given = [recorded, listed, disputed, market("A", "1", result=YES)]
    found = check_settled(given, CLOSE + RESULT_WITHIN)
    assert (found.failed, found.total, found.left_out, found.detail) == (2, 3, 1, "L closed, D disputed")
    early = check_settled(given, CLOSE + RESULT_WITHIN - timedelta(seconds=1))
    assert (early.failed, early.total, early.left_out) == (3, 4, 0)
    [merged] = merge_results([found, found])
    assert (merged.failed, merged.total, merged.left_out) == (4, 6, 2)


def test_a_result_that_its_own_strikes_contradict_is_named() -> None:
    markets = [market("A", "118499.99", result=YES), market("B", "118749.99", result=NO), market("C", "1")]
    values = {"A": Decimal("118500.00"), "B": Decimal("118749.99"), "C": Decimal(5)}
    assert check_own_results(markets, values) == replace(check_own_results(markets, values), failed=0, total=2)
    # The result of the first market of the list, for all: the second one is wrong.
    copied = [replace(one, result=YES) for one in markets]
    found = check_own_results(copied, values)
    assert (found.failed, found.total, found.detail) == (1, 3, "B yes at 118749.99")
    assert check_own_results(markets, {}).total == 0
    found = check_own_results(markets, {}, ["D: settlement_value 0 contradicts result yes"])
    assert (found.failed, found.detail) == (1, "D: settlement_value 0 contradicts result yes")


GOOD_RESULTS = [
    [market("A", "99.99", result=YES), market("B", "199.99", result=NO)],
    [market("A", "99.99", result=NO), market("B", None, "100", result=YES)],
    [market("A", "99.99", result=MarketResult.VOID), market("B", "199.99", result=YES)],
    [market("A", "99.99", result=NO, status=MarketStatus.DETERMINED), market("B", "199.99", result=YES)],
    [market("A", "99.99", result=NO), market("B", "199.99", result=YES, event_ticker="F")],
    [market("A", "100", "199.99", result=NO), market("B", "300", "399.99", result=NO)],
    [],
]
BAD_RESULTS = [
    [market("A", "99.99", result=NO), market("B", "199.99", result=YES)],
    [market("A", None, "100", result=YES), market("B", "99.99", result=YES)],
    [market("A", "100", "199.99", result=YES), market("B", "200", "299.99", result=YES)],
    [
        market("A", None, "100", result=NO),
        market("B", "100", "199.99", result=NO),
        market("C", "199.99", result=NO),
    ],
]


@pytest.mark.parametrize("markets", GOOD_RESULTS)
def test_results_that_one_value_gives_agree(markets: list[Market]) -> None:
    assert check_results_agree(markets).passed


@pytest.mark.parametrize("markets", BAD_RESULTS)
def test_results_that_no_value_gives_are_named(markets: list[Market]) -> None:
    named = ", ".join(f"{one.ticker} {one.result}" for one in markets)
    found = check_results_agree([*markets, market("G", "1", result=YES, event_ticker="GOOD")])
    assert (found.failed, found.total) == (1, 2)
    assert found.detail == f"E: no value of the index gives all its results: {named}"


def test_quotes_of_open_events_are_recent() -> None:
    opened = CLOSE - timedelta(hours=1)
    now = CLOSE - timedelta(minutes=30)
    assert check_quote_ages([QuoteAge("E", opened, now - MAX_QUOTE_AGE)], now).passed
    assert check_quote_ages([QuoteAge("E", now - timedelta(minutes=1), None)], now).passed
    found = check_quote_ages(
        [
            QuoteAge("E", opened, now - MAX_QUOTE_AGE - timedelta(seconds=1)),
            QuoteAge("F", opened, None),
            QuoteAge("G", opened, now),
        ],
        now,
    )
    assert (found.failed, found.total, found.detail) == (2, 3, "E 181 s, F 1800 s")


def test_minutes_of_an_event_without_any_candle_are_counted() -> None:
    long = market("L", "1", event_ticker="F", opens_at=CLOSE - timedelta(hours=169))
    markets = [LADDER[0], LADDER[1], long]
    minutes = [(0, left, "0.4", "0.5") for left in range(0, 60, 2)] + [(1, left, None, None) for left in range(60)]
    later = [(2, left, "0.4", "0.5") for left in range(60)]
    whole = check_minutes(markets, closes(*minutes, *later))
    assert (whole.passed, whole.failed, whole.total) == (True, 0, 120)
    few = check_minutes(markets, closes(*minutes, *later[2:]))
    assert (few.passed, few.failed, few.detail) == (True, 2, "F 2 min")
    many = check_minutes(markets, closes(*minutes[:30], (1, 1, None, None)))
    assert (many.passed, many.failed, many.detail) == (False, 89, "F 60 min, E 29 min")


def test_partitions_of_the_next_days_exist() -> None:
    assert check_partitions(3, 3).passed
    found = check_partitions(1, 3)
    assert (found.passed, found.failed, found.detail) == (False, 2, "1 days ahead")


@pytest.mark.real_data
def test_recorded_hours_pass() -> None:
    markets, candles = recorded_markets.hourly_recording()
    ladders = check_ladders(markets, candles)
    assert ladders.passed
    assert (ladders.failed, ladders.detail) == (1, "KXBTCD-25APR1817-T83499.99 2025-04-12 12:40")
    assert ladders.total == 370_303
    assert check_candles_not_crossed(markets, candles).passed
    assert check_results_agree(markets).failed == 0
    assert check_settled(markets, datetime(2026, 1, 1, tzinfo=UTC)).passed
    minutes = check_minutes(markets, candles)
    assert minutes.passed
    assert (minutes.failed, minutes.total) == (100, 18_300)
    assert not check_ladders(markets, replace(candles, bids=1 - candles.asks, asks=1 - candles.bids)).passed
