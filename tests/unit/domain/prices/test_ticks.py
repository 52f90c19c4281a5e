"""Ticks: what is kept, what follows from them, and which quotes are believed."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.prices.ticks import (
    MILLISECOND,
    OUTLIER_CHANGE,
    Quote,
    QuoteValidator,
    Tick,
    TickHistory,
)

NOW = datetime(2026, 7, 1, 13, 30, tzinfo=UTC)
LAGS = (1, 2, 3, 4, 15, 30)


def history(prices: dict[float, float]) -> TickHistory:
    """Ticks at seconds relative to NOW."""
    found = TickHistory(ModelConfig())
    for second, price in sorted(prices.items()):
        assert found.add(Tick(NOW + timedelta(seconds=second), price))
    return found


def every_minute(price: float = 100.0) -> dict[float, float]:
    return {-60.0 * minutes: price for minutes in range(31)}


def test_the_deltas_are_changes_over_their_minutes() -> None:
    prices = every_minute() | {-60.0: 99.0, -120.0: 98.0, -900.0: 80.0, -1800.0: 50.0, 0.0: 100.0}
    features = history(prices).features()
    assert features is not None
    assert features.deltas_pct == pytest.approx((100 / 99, 200 / 98, 0.0, 0.0, 25.0, 100.0))
    assert features.missing_lags == ()


def test_a_missing_lag_makes_the_score_partial_and_says_which() -> None:
    prices = {second: price for second, price in every_minute().items() if second > -600} | {-60.0: 99.0}
    found = history(prices)
    features = found.features()
    assert features is not None
    assert features.missing_lags == (15, 30)
    assert features.deltas_pct[4:] == (None, None)
    # Of the known lags only the first moved: its weight 0.30 of the known 0.90.
    assert features.score_pct == pytest.approx(100 / 99 * 0.30 / 0.90)
    assert found.momentum() == (None, None), "a partial score is not momentum"


def test_without_any_lag_there_is_no_score() -> None:
    features = history({0.0: 100.0}).features()
    assert features is not None
    assert features.score_pct is None
    assert features.missing_lags == LAGS


@pytest.mark.parametrize(("age", "known"), [(60.0, True), (149.9, True), (150.0, True), (150.1, False)])
def test_a_price_counts_for_a_lag_up_to_90_seconds_before_it(age: float, known: bool) -> None:
    features = history({-age: 99.0, 0.0: 100.0}).features()
    assert features is not None
    assert (features.deltas_pct[0] is not None) == known


def test_a_price_after_the_lag_is_not_the_price_at_it() -> None:
    features = history({-59.9: 99.0, 0.0: 100.0}).features()
    assert features is not None
    assert features.deltas_pct[0] is None


def test_the_mean_is_that_of_the_last_minute() -> None:
    features = history({-60.0: 1000.0, -59.9: 10.0, -30.0: 20.0, 0.0: 30.0}).features()
    assert features is not None
    assert features.mean_1m_usd == pytest.approx(20.0)


def test_features_follow_each_new_tick() -> None:
    found = history(every_minute())
    before = found.features()
    assert found.add(Tick(NOW + timedelta(seconds=1), 110.0))
    after = found.features()
    assert before is not None
    assert after is not None
    assert after.deltas_pct[0] == pytest.approx(10.0)
    assert before != after


def test_old_ticks_are_forgotten_and_memory_stays_bounded() -> None:
    found = TickHistory(ModelConfig())
    for second in range(3 * 3600):
        found.add(Tick(NOW + timedelta(seconds=second), 100.0))
    kept = len(list(found.since(NOW)))
    assert 1890 <= kept <= 1890 * 4 / 3 + 2
    assert found.momentum() == (0.0, 0)


def test_a_tick_within_the_same_millisecond_is_left_out() -> None:
    found = history({0.0: 100.0})
    assert not found.add(Tick(NOW + timedelta(microseconds=400), 101.0))
    assert found.add(Tick(NOW + timedelta(microseconds=1400), 102.0))
    assert found.latest == Tick(NOW + timedelta(milliseconds=1), 102.0)


# Quotes


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def test_a_quote_becomes_a_tick_at_its_own_time() -> None:
    gate = QuoteValidator()
    assert gate.validate(Quote("BTC", 100.0, NOW - seconds(0.3)), NOW) == Tick(NOW - seconds(0.3), 100.0)
    assert gate.problem is None


def test_a_quote_without_a_time_is_of_now() -> None:
    assert QuoteValidator().validate(Quote("BTC", 100.0), NOW) == Tick(NOW, 100.0)


def test_a_repeated_quote_is_the_price_as_of_now() -> None:
    gate = QuoteValidator()
    gate.validate(Quote("BTC", 100.0, NOW), NOW)
    assert gate.validate(Quote("BTC", 100.0, NOW), NOW + seconds(3)) == Tick(NOW + seconds(3), 100.0)


def test_a_quote_that_was_overtaken_is_left_out_in_silence() -> None:
    gate = QuoteValidator()
    gate.validate(Quote("BTC", 100.0, NOW), NOW)
    assert gate.validate(Quote("BTC", 99.0, NOW - seconds(1)), NOW + seconds(1)) is None
    assert gate.problem is None


def test_ticks_never_go_back_in_time() -> None:
    gate = QuoteValidator()
    gate.validate(Quote("BTC", 100.0, NOW), NOW)
    confirmed = gate.validate(Quote("BTC", 100.0, NOW), NOW + seconds(2))
    late = gate.validate(Quote("BTC", 101.0, NOW + seconds(1)), NOW + seconds(3))
    assert confirmed is not None
    assert late == Tick(confirmed.at + MILLISECOND, 101.0)


def test_a_source_whose_clock_is_ahead_is_dated_by_ours_and_it_is_said() -> None:
    gate = QuoteValidator()
    assert gate.validate(Quote("BTC", 100.0, NOW + seconds(30)), NOW) == Tick(NOW, 100.0)
    assert gate.problem == "prices are dated 30.0 s ahead of this machine's clock"
    gate.validate(Quote("BTC", 100.0, NOW + seconds(30.5)), NOW + seconds(31))
    assert gate.problem is None


def test_prices_that_arrive_late_look_old_and_it_is_said() -> None:
    gate = QuoteValidator()
    tick = gate.validate(Quote("BTC", 100.0, NOW - seconds(20)), NOW)
    assert tick == Tick(NOW - seconds(20), 100.0)
    assert gate.problem == "prices arrive 20.0 s after their time"


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_price_is_refused(price: float) -> None:
    gate = QuoteValidator()
    assert gate.validate(Quote("BTC", price), NOW) is None
    assert gate.problem == f"{price} is not a valid price"
    assert gate.validate(Quote("BTC", 100.0), NOW) is not None
    assert gate.problem is None


@pytest.mark.parametrize("absurd", [1.0, 100.0 * (1 - OUTLIER_CHANGE) - 1, 100.0 * (1 + OUTLIER_CHANGE) + 1, 10_000.0])
def test_an_absurd_price_is_not_believed(absurd: float) -> None:
    gate = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    assert gate.validate(Quote("BTC", absurd), NOW) is None
    assert gate.problem is not None
    assert "rejected until further quotes confirm it" in gate.problem
    assert gate.validate(Quote("BTC", 100.5), NOW + seconds(1)) == Tick(NOW + seconds(1), 100.5)


def test_a_crash_that_others_confirm_is_believed() -> None:
    gate = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    admitted = [gate.validate(Quote("BTC", price), NOW + seconds(i)) for i, price in enumerate((70.0, 70.2, 69.9))]
    assert [tick is not None for tick in admitted] == [False, False, True]


def test_absurd_prices_that_disagree_confirm_nothing() -> None:
    gate = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    prices = (70.0, 50.0, 70.0, 50.0, 70.0, 50.0)
    assert all(gate.validate(Quote("BTC", price), NOW + seconds(i)) is None for i, price in enumerate(prices))


def test_absurd_prices_between_good_ones_never_add_up() -> None:
    gate = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    for i in range(5):
        assert gate.validate(Quote("BTC", 70.0), NOW + seconds(2 * i)) is None
        assert gate.validate(Quote("BTC", 100.0), NOW + seconds(2 * i + 1)) is not None


def test_a_quote_of_another_age_is_refused() -> None:
    for stated in (NOW - timedelta(days=2), datetime(1970, 1, 21, tzinfo=UTC)):
        gate = QuoteValidator()
        assert gate.validate(Quote("BTC", 100.0, stated), NOW) is None
        assert gate.problem == f"the newest price is dated {stated:%Y-%m-%d %H:%M} UTC"
        assert gate.validate(Quote("BTC", 101.0, NOW), NOW) == Tick(NOW, 101.0)
        assert gate.problem is None
