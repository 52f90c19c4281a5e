"""The markets of an event that are nearest to a price."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.markets.contracts import Market, MarketStatus, StrikeType
from pipelines.domain.markets.nearest import MarketBounds

OPENS = datetime(2026, 3, 21, 9, tzinfo=UTC)


def market(kind: StrikeType, floor: str | None = None, cap: str | None = None) -> Market:
    return Market(
        ticker=f"{floor}-{cap}",
        event_ticker="E",
        series_ticker="S",
        strike_type=kind,
        floor_strike=None if floor is None else Decimal(floor),
        cap_strike=None if cap is None else Decimal(cap),
        opens_at=OPENS,
        closes_at=OPENS + timedelta(hours=1),
        price_ranges=(),
        status=MarketStatus.ACTIVE,
    )


RANGES = [
    market(StrikeType.LESS, cap="80000"),
    market(StrikeType.BETWEEN, "80000", "80099.99"),
    market(StrikeType.BETWEEN, "80100", "80199.99"),
    market(StrikeType.GREATER, "80199.99"),
]


def test_a_range_that_contains_the_price_is_nearest() -> None:
    bounds = MarketBounds.of(RANGES)
    assert bounds.nearest(80_150.0, 1) == ("80100-80199.99",)
    assert bounds.nearest(80_010.0, 2) == ("80000-80099.99", "None-80000")
    assert bounds.nearest(80_010.0, 9) == ("80000-80099.99", "None-80000", "80100-80199.99", "80199.99-None")


def test_of_equal_distances_the_lower_strike_comes_first() -> None:
    bounds = MarketBounds.of([market(StrikeType.GREATER, "199.99"), market(StrikeType.GREATER, "99.99")])
    assert bounds.nearest(150.0, 2) == ("99.99-None", "199.99-None")


def test_without_a_price_the_middle_of_the_ladder_is_taken() -> None:
    markets = [market(StrikeType.GREATER, f"{strike}.99") for strike in range(100, 201)]
    assert MarketBounds.of(markets).nearest(None, 3) == ("150.99-None", "149.99-None", "151.99-None")


def test_no_markets_are_near_in_an_empty_event() -> None:
    assert MarketBounds.of([]).nearest(80_000.0, 21) == ()


@given(
    strikes=st.lists(st.integers(1, 10_000), min_size=1, max_size=60, unique=True),
    price=st.floats(1.0, 10_000.0),
    count=st.integers(1, 70),
)
def test_no_market_left_out_is_nearer_than_one_chosen(strikes: list[int], price: float, count: int) -> None:
    markets = {f"{strike}-None": strike for strike in strikes}
    bounds = MarketBounds.of([market(StrikeType.GREATER_OR_EQUAL, str(strike)) for strike in strikes])
    found = bounds.nearest(price, count)
    assert len(found) == min(count, len(strikes))
    distances = [abs(markets[one] - price) for one in found]
    assert distances == sorted(distances)
    others = [abs(strike - price) for name, strike in markets.items() if name not in found]
    assert not others or min(others) >= max(distances)
    assert np.all(bounds.lower == bounds.upper)
