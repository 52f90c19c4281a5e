"""What markets ask and pay."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_markets import recording

from pipelines.domain.markets.contracts import (
    Market,
    MarketResult,
    MarketStatus,
    PriceRange,
    Side,
    StrikeType,
    market_of,
    payoff,
    yes_probabilities,
)
from pipelines.domain.prices.bars import Floats
from pipelines.errors import MarketError

CLOSE = datetime(2026, 3, 21, 10, tzinfo=UTC)


def market(
    strike_type: StrikeType = StrikeType.GREATER, floor: str | None = "118499.99", cap: str | None = None
) -> Market:
    return Market(
        ticker="KXBTCD-26MAR2106-T118499.99",
        event_ticker="KXBTCD-26MAR2106",
        series_ticker="KXBTCD",
        strike_type=strike_type,
        floor_strike=None if floor is None else Decimal(floor),
        cap_strike=None if cap is None else Decimal(cap),
        opens_at=CLOSE - timedelta(hours=1),
        closes_at=CLOSE,
        price_ranges=(PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),),
        status=MarketStatus.ACTIVE,
    )


ALL_TYPES = [
    (market(StrikeType.GREATER, "118499.99"), ("118500.00", None)),
    (market(StrikeType.GREATER, "118499.995"), ("118500.00", None)),
    (market(StrikeType.GREATER_OR_EQUAL, "118500"), ("118500.00", None)),
    (market(StrikeType.GREATER_OR_EQUAL, "118499.995"), ("118500.00", None)),
    (market(StrikeType.LESS, None, "61600"), (None, "61600.00")),
    (market(StrikeType.LESS_OR_EQUAL, None, "61599.99"), (None, "61600.00")),
    (market(StrikeType.BETWEEN, "80100", "80199.99"), ("80100.00", "80200.00")),
]


@pytest.mark.parametrize(("one", "bounds"), ALL_TYPES)
def test_bounds_are_values_of_the_index(one: Market, bounds: tuple[str | None, str | None]) -> None:
    assert one.bounds_usd() == tuple(None if bound is None else Decimal(bound) for bound in bounds)


@given(cents=st.integers(-300, 300))
@pytest.mark.parametrize("one", [one for one, _ in ALL_TYPES])
def test_a_value_of_the_index_is_compared_with_the_strikes_as_the_type_says(one: Market, cents: int) -> None:
    value = (one.floor_strike or one.cap_strike or Decimal(0)).quantize(Decimal("0.01")) + cents * Decimal("0.01")
    floor, cap = one.floor_strike or Decimal(0), one.cap_strike or Decimal(0)
    expected = {
        StrikeType.GREATER: value > floor,
        StrikeType.GREATER_OR_EQUAL: value >= floor,
        StrikeType.LESS: value < cap,
        StrikeType.LESS_OR_EQUAL: value <= cap,
        StrikeType.BETWEEN: floor <= value <= cap,
    }
    assert one.is_yes_at(value) == expected[one.strike_type]


def test_an_index_with_other_decimals_has_other_bounds() -> None:
    assert market(floor="118499.99").bounds_usd(Decimal("0.001")) == (Decimal("118499.991"), None)
    assert market(floor="118499.99").bounds_usd(Decimal(1)) == (Decimal(118500), None)


def test_probabilities_of_a_partition_sum_to_one() -> None:
    asked: list[np.ndarray] = []

    def at_or_above(strikes: np.ndarray) -> np.ndarray:
        asked.append(strikes)
        return 1 / (1 + np.exp((strikes - 80_150) / 40))

    markets = [
        market(StrikeType.LESS, None, "80100"),
        market(StrikeType.BETWEEN, "80100", "80199.99"),
        market(StrikeType.GREATER, "80199.99"),
    ]
    found = yes_probabilities(markets, at_or_above)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    assert found[2] == at_or_above(np.array([80_200.0]))[0]
    assert asked[0].tolist() == [80_100.0, 80_200.0]
    assert yes_probabilities([], at_or_above).tolist() == []


def test_several_distributions_are_answered_together_as_each_alone() -> None:
    markets = [market(StrikeType.LESS, None, "80100"), market(StrikeType.BETWEEN, "80100", "80199.99"), market()]

    def of(centre: float) -> Callable[[Floats], Floats]:
        return lambda strikes: 1.0 / (1.0 + np.exp((strikes - centre) / 100.0))

    centres = [80_000.0, 80_150.0, 118_500.0]
    together = yes_probabilities(markets, lambda strikes: np.stack([of(centre)(strikes) for centre in centres]))
    assert together.tolist() == [yes_probabilities(markets, of(centre)).tolist() for centre in centres]
    assert (together[0] != together[1]).all()


def test_an_unknown_probability_stays_unknown() -> None:
    found = yes_probabilities([market(), market(StrikeType.LESS, None, "1")], lambda k: np.where(k > 2, np.nan, 1.0))
    assert np.isnan(found[0])
    assert found[1] == 0.0


@pytest.mark.parametrize(
    ("strike_type", "floor", "cap", "problem"),
    [
        (StrikeType.GREATER, None, None, "floor_strike missing"),
        (StrikeType.GREATER, "1", "2", "cap_strike 2, strike_type greater has none"),
        (StrikeType.LESS, "1", None, "cap_strike missing"),
        (StrikeType.BETWEEN, "1", None, "cap_strike missing"),
        (StrikeType.BETWEEN, "2", "2", "cap_strike 2 is not above floor_strike 2"),
        (StrikeType.GREATER, "-1", None, "floor_strike -1, expected more than 0"),
        (StrikeType.GREATER, "NaN", None, "floor_strike NaN, expected more than 0"),
    ],
)
def test_strikes_that_do_not_fit_the_type_are_refused(
    strike_type: StrikeType, floor: str | None, cap: str | None, problem: str
) -> None:
    with pytest.raises(MarketError, match=f"T118499.99: .*{problem}"):
        market(strike_type, floor, cap)


def test_impossible_times_are_refused() -> None:
    with pytest.raises(MarketError, match="open_time .* is not before close_time"):
        replace(market(), opens_at=CLOSE)
    with pytest.raises(MarketError, match="without a time zone"):
        replace(market(), closes_at=CLOSE.replace(tzinfo=None))


def test_payoffs() -> None:
    paid = Decimal("0.37")
    assert [payoff(side, MarketResult.YES, None, paid) for side in Side] == [1, 0]
    assert [payoff(side, MarketResult.NO, Decimal("0.0000"), paid) for side in Side] == [0, 1]
    assert [payoff(side, MarketResult.SCALAR, Decimal("0.3"), paid) for side in Side] == [
        Decimal("0.3"),
        Decimal("0.7"),
    ]
    assert [payoff(side, MarketResult.VOID, None, paid) for side in Side] == [paid, paid]


@pytest.mark.parametrize(
    ("result", "value", "problem"),
    [
        (MarketResult.SCALAR, None, "scalar without settlement_value"),
        (MarketResult.YES, "0", "contradicts"),
        (MarketResult.NO, "1", "contradicts"),
        (MarketResult.NO, "0.5", "contradicts"),
        (MarketResult.SCALAR, "1.5", "between 0 and 1"),
        (MarketResult.SCALAR, "NaN", "between 0 and 1"),
    ],
)
def test_a_value_that_contradicts_the_result_is_refused(result: MarketResult, value: str | None, problem: str) -> None:
    settlement_value = None if value is None else Decimal(value)
    with pytest.raises(MarketError, match=problem):
        payoff(Side.YES, result, settlement_value, Decimal("0.5"))
    with pytest.raises(MarketError, match=f"T118499.99: .*{problem}"):
        replace(market(), status=MarketStatus.FINALIZED, result=result, settlement_value=settlement_value)


def test_markets_are_found_by_ticker_wherever_they_are() -> None:
    first, second = (
        replace(market(), ticker="A", result=MarketResult.NO),
        replace(market(), ticker="B", result=MarketResult.YES),
    )
    for markets in ([first, second], [second, first], [second, first, second]):
        assert market_of("B", markets).result is MarketResult.YES
    with pytest.raises(MarketError, match="C: no markets"):
        market_of("C", [first, second])
    with pytest.raises(MarketError, match="B: 2 different markets"):
        market_of("B", [second, replace(second, result=MarketResult.NO)])


def test_only_a_finalized_market_with_a_result_is_settled() -> None:
    assert not market().is_settled
    assert not replace(market(), status=MarketStatus.FINALIZED).is_settled
    assert not replace(market(), status=MarketStatus.DISPUTED, result=MarketResult.YES).is_settled
    assert replace(market(), status=MarketStatus.FINALIZED, result=MarketResult.YES).is_settled


@pytest.mark.real_data
def test_recorded_results_follow_from_the_recorded_values_of_the_index() -> None:
    frame = pl.read_csv(recording("kxbtc15m_book1s_2026-05/markets.csv"), infer_schema=False)
    rows = frame.filter(pl.col("settlement_value", "floor_strike").is_not_null(), pl.col("result").is_in(["yes", "no"]))
    assert len(rows) == 49
    for row in rows.iter_rows(named=True):
        one = market(StrikeType.GREATER_OR_EQUAL, row["floor_strike"])
        assert one.is_yes_at(Decimal(row["settlement_value"])) == (row["result"] == "yes"), row["ticker"]
