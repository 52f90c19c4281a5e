"""Minute candles of markets: what contradicts itself is refused, and which minutes are kept."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.markets.candles import MINUTE, Candle, MinuteRange, PriceSpan, wanted_minutes
from pipelines.errors import MarketError

CLOSE = datetime(2026, 3, 21, 10, tzinfo=UTC)


def span(*prices: str | None) -> PriceSpan:
    return PriceSpan(*(None if price is None else Decimal(price) for price in prices))


def candle(**changes: Any) -> Candle:
    values: dict[str, Any] = {
        "ends_at": CLOSE,
        "yes_bid": span("0.17", "0.18", "0.16", "0.17"),
        "yes_ask": span("0.21", "0.22", "0.20", "0.22"),
        "volume": Decimal(3),
        "open_interest": Decimal(5),
    }
    return Candle(**{**values, **changes})


def test_a_minute_without_orders_has_no_prices() -> None:
    assert candle(yes_bid=span(None, None, None, None), yes_ask=span(None, None, None, None)).yes_bid.high is None


def test_no_order_counts_as_the_lowest_bid_and_the_highest_ask() -> None:
    one = candle(yes_bid=span(None, "0.18", None, "0.17"), yes_ask=span("0.21", None, "0.20", None))
    assert (one.yes_bid.low, one.yes_ask.high) == (None, None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"yes_bid": span("0.19", "0.18", "0.16", "0.17")}, "yes_bid open 0.19, expected from low 0.16 to high 0.18"),
        ({"yes_ask": span("0.21", "0.22", "0.20", "0.19")}, "yes_ask close 0.19, expected from low 0.20 to high 0.22"),
        ({"yes_bid": span("0.17", "0.16", "0.18", "0.17")}, "yes_bid open 0.17, expected from low 0.18 to high 0.16"),
        ({"yes_bid": span("0.17", None, "0.16", "0.17")}, "yes_bid open 0.17, expected from low 0.16 to high 0"),
        ({"yes_ask": span("0.21", "0.22", None, "0.22")}, "yes_ask open 0.21, expected from low 1 to high 0.22"),
        (
            {"yes_bid": span("0.17", "1.00", "0.16", "0.17")},
            "yes_bid high 1.00, expected a multiple of 0.0001 above 0 and below 1",
        ),
        (
            {"yes_ask": span("0.21", "0.22", "-0.2", "0.22")},
            "yes_ask low -0.2, expected a multiple of 0.0001 above 0 and below 1",
        ),
        (
            {"yes_ask": span("0.21", "NaN", "0.20", "0.22")},
            "yes_ask high NaN, expected a multiple of 0.0001 above 0 and below 1",
        ),
        ({"yes_bid": span("0.17", "0.18", "0.16005", "0.17")}, "yes_bid low 0.16005, expected a multiple of 0.0001"),
        ({"volume": Decimal("0.005")}, "volume 0.005, expected a multiple of 0.01, 0 or more"),
        ({"ends_at": CLOSE + timedelta(seconds=1)}, "end 2026-03-21 10:00:01.000000, expected a whole minute"),
        ({"ends_at": CLOSE + timedelta(microseconds=1)}, "end 2026-03-21 10:00:00.000001, expected a whole minute"),
        ({"ends_at": CLOSE.replace(tzinfo=None)}, "end 2026-03-21 10:00:00, expected UTC"),
        ({"ends_at": CLOSE.astimezone(timezone(timedelta(hours=2)))}, "end 2026-03-21 12:00:00+02:00, expected UTC"),
        ({"volume": Decimal(-1)}, "volume -1, expected a multiple of 0.01, 0 or more"),
        ({"open_interest": Decimal("Infinity")}, "open_interest Infinity, expected a multiple of 0.01, 0 or more"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(MarketError) as caught:
        candle(**changes)
    assert str(caught.value).startswith(problem)


def test_all_problems_are_named() -> None:
    with pytest.raises(MarketError, match=r"yes_bid open .*; yes_ask low .*; volume -1"):
        candle(
            yes_bid=span("0.19", "0.18", "0.16", "0.17"),
            yes_ask=span("0.21", "0.22", "2", "0.22"),
            volume=Decimal(-1),
        )


@pytest.mark.parametrize(
    ("opens_at", "closes_at", "first", "last", "minutes"),
    [
        (CLOSE - timedelta(hours=1), CLOSE, "09:01", "10:00", 60),
        (CLOSE - timedelta(minutes=15), CLOSE, "09:46", "10:00", 15),
        (CLOSE - timedelta(hours=169), CLOSE, "09:01", "10:00", 60),
        # Closed early within a minute: that one is not complete.
        (CLOSE - timedelta(hours=1), CLOSE - timedelta(minutes=20, seconds=-12), "09:01", "09:40", 40),
        (CLOSE - timedelta(seconds=90), CLOSE, "10:00", "10:00", 1),
        (CLOSE - timedelta(seconds=20), CLOSE + timedelta(seconds=20), "10:01", "10:00", 0),
    ],
)
def test_the_complete_minutes_of_the_last_hour_are_kept(
    opens_at: datetime, closes_at: datetime, first: str, last: str, minutes: int
) -> None:
    found = wanted_minutes(opens_at, closes_at)
    assert (f"{found.first_at:%H:%M}", f"{found.last_at:%H:%M}", len(found)) == (first, last, minutes)


@given(minutes=st.integers(0, 400), size=st.integers(1, 150))
def test_parts_are_the_same_minutes_once(minutes: int, size: int) -> None:
    whole = MinuteRange(CLOSE, CLOSE + (minutes - 1) * MINUTE)
    parts = whole.parts(size)
    ends = [part.first_at + i * MINUTE for part in parts for i in range(len(part))]
    assert ends == [CLOSE + i * MINUTE for i in range(minutes)]
    assert all(1 <= len(part) <= size for part in parts)
    assert all(end in whole for end in ends)
