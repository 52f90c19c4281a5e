"""Which quotes of which markets count for scores, and how the others are counted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.evaluation.recorded_quotes import (
    Candles,
    RecordedQuotes,
    SettledMarkets,
    consistent_results,
)
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.prices.bars import minute_of_instant

CLOSE = datetime(2026, 5, 11, 14, 0, tzinfo=UTC)
YES, NO = MarketResult.YES, MarketResult.NO


def market(
    floor: str | None,
    result: MarketResult | None,
    *,
    cap: str | None = None,
    strike_type: StrikeType = StrikeType.GREATER,
    event: str = "KXBTCD-26MAY1110",
    series: str = "KXBTCD",
    closes_at: datetime = CLOSE,
    status: MarketStatus = MarketStatus.FINALIZED,
    value: str | None = None,
) -> Market:
    return Market(
        f"{event}-T{floor or cap}",
        event,
        series,
        strike_type,
        None if floor is None else Decimal(floor),
        None if cap is None else Decimal(cap),
        closes_at - timedelta(hours=1),
        closes_at,
        (),
        status,
        result,
        None if value is None else Decimal(value),
    )


def candles(*rows: tuple[int, datetime, float, float], ages: tuple[float, ...] | None = None) -> Candles:
    numbers, ends, bids, asks = zip(*rows, strict=True)
    instants = np.array([minute_of_instant(end) for end in ends])
    seconds = np.zeros(len(rows)) if ages is None else np.array(ages)
    return Candles(np.array(numbers), instants, np.array(bids), np.array(asks), seconds)


def minutes_before(minutes: int, closes_at: datetime = CLOSE) -> datetime:
    return closes_at - timedelta(minutes=minutes)


def test_quotes_carry_the_bounds_and_the_result_of_their_own_market() -> None:
    settled = SettledMarkets(
        [
            market("118499.99", YES),
            market(None, NO, cap="61600", strike_type=StrikeType.LESS),
            market("118400", NO, cap="118499.99", strike_type=StrikeType.BETWEEN),
        ]
    )
    found = settled.quotes(candles(*((n, minutes_before(5), 0.4 + n / 100, 0.45 + n / 100) for n in (2, 0, 1))))
    assert found.bids == pytest.approx([0.4, 0.41, 0.42]), "by market within a minute"
    assert np.array_equal(found.lower_usd, [118500.0, np.nan, 118400.0], equal_nan=True)
    assert np.array_equal(found.upper_usd, [np.nan, 61600.0, 118500.0], equal_nan=True)
    assert found.outcomes.tolist() == [True, False, False]
    assert found.ttc_seconds.tolist() == [300, 300, 300]
    assert found.mids == pytest.approx([0.425, 0.435, 0.445])
    assert not settled.left_out.total()


def test_markets_without_a_final_result_of_yes_or_no_are_left_out_and_counted() -> None:
    settled = SettledMarkets(
        [
            market("1", YES),
            market("2", None, status=MarketStatus.ACTIVE),
            market("3", YES, status=MarketStatus.DETERMINED),
            market("4", None),
            market("5", MarketResult.VOID),
            market("6", MarketResult.SCALAR, value="0.3"),
        ]
    )
    found = settled.quotes(candles(*((n, minutes_before(5), 0.4, 0.45) for n in range(6))))
    assert found.lower_usd.tolist() == [1.01]
    assert settled.left_out == {
        "markets without a final result": 3,
        "markets with the result void": 1,
        "markets with the result scalar": 1,
    }


def test_quotes_on_one_side_crossed_locked_or_wide_are_left_out_and_counted_once() -> None:
    settled = SettledMarkets([market("100", YES)])
    rows = [(0.4, 0.5), (0.0, 0.5), (0.4, 1.0), (np.nan, np.nan), (0.5, 0.5), (0.5, 0.4), (0.4, 0.61), (0.4, 0.6)]
    found = settled.quotes(candles(*((0, minutes_before(50 - n), *row) for n, row in enumerate(rows))))
    assert found.asks.tolist() == [0.5, 0.6]
    assert settled.left_out == {
        "quotes on one side": 3,
        "crossed or locked quotes": 2,
        "quotes wider than 20 cents": 1,
    }


def test_quotes_that_are_older_than_the_price_that_the_model_knows_are_left_out_and_counted() -> None:
    settled = SettledMarkets([market("100", YES)])
    ages = (0.0, 2.0, 2.001, 58.0, np.inf)
    rows = [(0, minutes_before(30 - n), 0.4 + n / 100, 0.5) for n in range(len(ages))]
    found = settled.quotes(candles(*rows, ages=ages))
    assert found.bids == pytest.approx([0.4, 0.41])
    assert settled.left_out == {"quotes older than 2 s at their minute": 3}


def test_sub_cent_quotes_count_with_their_exact_mid() -> None:
    found = SettledMarkets([market("100", YES)]).quotes(
        candles((0, minutes_before(3), 0.991, 0.992), (0, minutes_before(2), 0.0001, 0.0005))
    )
    assert found.mids == pytest.approx([0.9915, 0.0003])


def test_only_the_last_hour_before_the_close_counts() -> None:
    settled = SettledMarkets([market("100", YES)])
    found = settled.quotes(candles(*((0, minutes_before(n), 0.4, 0.5) for n in (1440, 61, 60, 59, 1, 0, -1))))
    assert found.ttc_seconds.tolist() == [59 * 60, 60]
    assert not settled.left_out.total(), "other times are not asked for"


@pytest.mark.parametrize("minute", [0, 15, 30, 45])
def test_markets_close_at_any_minute(minute: int) -> None:
    closes_at = CLOSE + timedelta(minutes=minute)
    settled = SettledMarkets(
        [market("80818.21", YES, strike_type=StrikeType.GREATER_OR_EQUAL, closes_at=closes_at, series="KXBTC15M")]
    )
    found = settled.quotes(candles((0, minutes_before(14, closes_at), 0.4, 0.5)))
    assert (found.ttc_seconds[0], found.lower_usd[0]) == (840, 80818.21)


def test_a_close_at_midnight_belongs_to_the_day_before() -> None:
    midnight = datetime(2026, 5, 12, tzinfo=UTC)
    markets = [
        market("1", YES, closes_at=midnight),
        market("1", YES, event="E", closes_at=midnight + timedelta(hours=1)),
    ]
    found = SettledMarkets(markets).quotes(
        candles(
            (0, minutes_before(5, midnight), 0.4, 0.5), (1, minutes_before(59, midnight + timedelta(hours=1)), 0.4, 0.5)
        )
    )
    assert np.diff(found.close_days).tolist() == [1]


def test_two_series_are_refused() -> None:
    with pytest.raises(ValueError, match="markets of 2 series: KXBTC15M, KXBTCD; expected those of one"):
        SettledMarkets([market("1", YES), market("2", NO, series="KXBTC15M")])


def test_an_event_whose_results_contradict_each_other_is_refused_by_name_and_the_others_stay() -> None:
    good, bad = "KXBTCD-26MAY1110", "KXBTCD-26MAY1111"
    settled = SettledMarkets(
        [
            market("100", YES, event=good),
            market("200", NO, event=good),
            market("100", NO, event=bad),
            market("150", MarketResult.VOID, event=bad),
            market("200", YES, event=bad),
        ]
    )
    assert settled.refused == [f"{bad}: no value of the index gives all its results: {bad}-T100 no, {bad}-T200 yes"]
    found = settled.quotes(candles(*((n, minutes_before(5), 0.4, 0.5) for n in range(5))))
    assert found.lower_usd.tolist() == [100.01, 200.01]
    assert set(found.events.tolist()) == {0}
    assert settled.event_tickers == (good, bad)


def test_an_event_that_takes_all_of_its_results_to_contradict_names_them_all() -> None:
    none_of_three = [
        market(None, NO, cap="100", strike_type=StrikeType.LESS),
        market("100", NO, cap="199.99", strike_type=StrikeType.BETWEEN),
        market("200", NO, strike_type=StrikeType.GREATER_OR_EQUAL),
    ]
    (refused,) = SettledMarkets(none_of_three).refused
    assert refused.count(" no") == 4, refused


BOUND = st.none() | st.integers(1, 8).map(float)


@given(st.lists(st.tuples(BOUND, BOUND), min_size=1, max_size=8), st.floats(0, 9))
def test_results_of_any_value_are_consistent(bounds: list[tuple[float | None, float | None]], value: float) -> None:
    lower, upper = (np.array([np.nan if one is None else one for one in side]) for side in zip(*bounds, strict=True))
    outcomes = ~(value < lower) & ~(value >= upper)
    assert consistent_results(lower, upper, outcomes)


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_yes_above_a_no_is_consistent_with_no_value(low: int, more: int) -> None:
    lower, upper = np.array([float(low), float(low + more)]), np.full(2, np.nan)
    assert not consistent_results(lower, upper, np.array([False, True]))
    assert consistent_results(lower, upper, np.array([True, False]))


def test_joined_parts_are_in_the_order_of_their_instants() -> None:
    settled = SettledMarkets([market("100", YES), market("200", NO)])
    early = settled.quotes(candles((0, minutes_before(9), 0.4, 0.5), (1, minutes_before(3), 0.1, 0.2)))
    late = settled.quotes(candles((0, minutes_before(5), 0.6, 0.7)))
    joined = RecordedQuotes.joined([late, early])
    assert joined.ttc_seconds.tolist() == [540, 300, 180]
    assert joined.bids.tolist() == [0.4, 0.6, 0.1]
    assert len(joined.part(slice(1, 2))) == 1
