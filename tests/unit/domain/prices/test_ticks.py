"""Tick history, features of ticks and validation of quotes."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.prices.outliers import OUTLIER_CHANGE, OutlierFilter
from pipelines.domain.prices.ticks import (
    MILLISECOND,
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


def test_deltas_are_changes_over_their_lags() -> None:
    prices = every_minute() | {-60.0: 99.0, -120.0: 98.0, -900.0: 80.0, -1800.0: 50.0, 0.0: 100.0}
    features = history(prices).features()
    assert features is not None
    assert features.deltas_pct == pytest.approx((100 / 99, 200 / 98, 0.0, 0.0, 25.0, 100.0))
    assert features.missing_lags == ()


def test_a_missing_lag_makes_the_score_partial_and_is_reported() -> None:
    prices = {second: price for second, price in every_minute().items() if second > -600} | {-60.0: 99.0}
    found = history(prices)
    features = found.features()
    assert features is not None
    assert features.missing_lags == (15, 30)
    assert features.deltas_pct[4:] == (None, None)
    # Only the first lag has a change: weight 0.30 of the known 0.90.
    assert features.score_pct == pytest.approx(100 / 99 * 0.30 / 0.90)
    assert found.momentum() == (None, None), "a partial score is not momentum"


def test_without_any_lag_there_is_no_score() -> None:
    features = history({0.0: 100.0}).features()
    assert features is not None
    assert features.score_pct is None
    assert features.missing_lags == LAGS


@pytest.mark.parametrize(("age", "known"), [(60.0, True), (149.9, True), (150.0, True), (150.1, False)])
def test_a_lagged_price_may_be_up_to_90_seconds_older_than_its_lag(age: float, known: bool) -> None:
    features = history({-age: 99.0, 0.0: 100.0}).features()
    assert features is not None
    assert (features.deltas_pct[0] is not None) == known


def test_a_price_after_the_lag_is_not_used() -> None:
    features = history({-59.9: 99.0, 0.0: 100.0}).features()
    assert features is not None
    assert features.deltas_pct[0] is None


def test_the_mean_covers_the_last_minute() -> None:
    features = history({-60.0: 1000.0, -59.9: 10.0, -30.0: 20.0, 0.0: 30.0}).features()
    assert features is not None
    assert features.mean_1m_usd == pytest.approx(20.0)


def test_features_are_recomputed_for_each_tick() -> None:
    found = history(every_minute())
    before = found.features()
    assert found.add(Tick(NOW + timedelta(seconds=1), 110.0))
    after = found.features()
    assert before is not None
    assert after is not None
    assert after.deltas_pct[0] == pytest.approx(10.0)
    assert before != after


def test_old_ticks_are_discarded_and_memory_stays_bounded() -> None:
    found = TickHistory(ModelConfig())
    for second in range(3 * 3600):
        found.add(Tick(NOW + timedelta(seconds=second), 100.0))
    kept = len(list(found.since(NOW)))
    assert 1890 <= kept <= 1890 * 4 / 3 + 2
    assert found.momentum() == (0.0, 0)


def test_a_second_tick_of_the_same_millisecond_is_not_added() -> None:
    found = history({0.0: 100.0})
    assert not found.add(Tick(NOW + timedelta(microseconds=400), 101.0))
    assert found.add(Tick(NOW + timedelta(microseconds=1400), 102.0))
    assert found.latest == Tick(NOW + timedelta(milliseconds=1), 102.0)


# Quotes


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def test_a_quote_becomes_a_tick_with_its_own_timestamp() -> None:
    validator = QuoteValidator()
    assert validator.validate(Quote("BTC", 100.0, NOW - seconds(0.3)), NOW) == Tick(NOW - seconds(0.3), 100.0)
    assert validator.problem is None


def test_a_quote_without_a_timestamp_is_dated_now() -> None:
    assert QuoteValidator().validate(Quote("BTC", 100.0), NOW) == Tick(NOW, 100.0)


def test_a_repeated_quote_is_dated_now() -> None:
    validator = QuoteValidator()
    validator.validate(Quote("BTC", 100.0, NOW), NOW)
    assert validator.validate(Quote("BTC", 100.0, NOW), NOW + seconds(3)) == Tick(NOW + seconds(3), 100.0)


def test_a_price_that_is_repeated_for_over_a_minute_has_the_age_of_its_trade() -> None:
    validator, newest = QuoteValidator(), Tick(NOW, 0.0)
    ages: dict[int, float] = {}
    for second in range(1801):
        tick = validator.validate(Quote("BTC", 100.0, NOW), NOW + seconds(second))
        newest = tick or newest
        assert (tick is None) == (validator.problem is not None) == (second > 60)
        ages[second] = (NOW + seconds(second) - validator.with_own_time(newest).at).total_seconds()
    assert [ages[second] for second in (1, 60, 61, 600, 1800)] == [0.0, 0.0, 61.0, 600.0, 1800.0]
    assert validator.problem == "the source repeats its last price, dated 2026-07-01 13:30:00 UTC"
    resumed = validator.validate(Quote("BTC", 101.0, NOW + seconds(1800)), NOW + seconds(1801))
    assert resumed == Tick(NOW + seconds(1800), 101.0)
    assert validator.with_own_time(resumed) == resumed
    assert validator.problem is None


def test_a_successor_dates_an_outdated_price_by_its_trade() -> None:
    confirmed = Tick(NOW + seconds(60), 100.0)
    validator = QuoteValidator(confirmed)
    tick = validator.validate(Quote("BTC", 100.0, NOW), NOW + seconds(600))
    assert tick is not None
    assert validator.with_own_time(tick).at == NOW
    assert validator.with_own_time(Tick(tick.at + timedelta(microseconds=500), 100.0)).at == NOW
    of_another_producer = Tick(NOW + seconds(599), 100.5)
    assert validator.with_own_time(of_another_producer) == of_another_producer


def test_a_quote_delivered_out_of_order_is_ignored_without_a_problem() -> None:
    validator = QuoteValidator()
    validator.validate(Quote("BTC", 100.0, NOW), NOW)
    assert validator.validate(Quote("BTC", 99.0, NOW - seconds(1)), NOW + seconds(1)) is None
    assert validator.problem is None


@pytest.mark.parametrize(("at", "problem"), [(NOW - seconds(1), False), (NOW, True)], ids=["late", "repeated"])
def test_a_rejected_quote_is_no_level_for_the_other_sources(at: datetime, problem: bool) -> None:
    level = OutlierFilter()
    stalled, fresh = QuoteValidator(outliers=level), QuoteValidator(outliers=level)
    assert stalled.validate(Quote("BTC", 100.0, NOW), NOW) is not None
    for second in range(61, 70):
        now, price = NOW + seconds(second), 100.0 + second - 60
        assert stalled.validate(Quote("BTC", 100.0 - second + 60, at), now) is None
        assert (stalled.problem is not None) == problem
        assert fresh.validate(Quote("BTC", price, now), now) == Tick(now, price)


def test_tick_timestamps_strictly_increase() -> None:
    validator = QuoteValidator()
    validator.validate(Quote("BTC", 100.0, NOW), NOW)
    confirmed = validator.validate(Quote("BTC", 100.0, NOW), NOW + seconds(2))
    late = validator.validate(Quote("BTC", 101.0, NOW + seconds(1)), NOW + seconds(3))
    assert confirmed is not None
    assert late == Tick(confirmed.at + MILLISECOND, 101.0)


def test_a_timestamp_ahead_of_our_clock_is_replaced_and_reported() -> None:
    validator = QuoteValidator()
    assert validator.validate(Quote("BTC", 100.0, NOW + seconds(30)), NOW) == Tick(NOW, 100.0)
    assert validator.problem == "prices are dated 30.0 s ahead of this machine's clock"
    validator.validate(Quote("BTC", 100.0, NOW + seconds(30.5)), NOW + seconds(31))
    assert validator.problem is None


def test_delayed_prices_keep_their_timestamp_and_are_reported() -> None:
    validator = QuoteValidator()
    tick = validator.validate(Quote("BTC", 100.0, NOW - seconds(20)), NOW)
    assert tick == Tick(NOW - seconds(20), 100.0)
    assert validator.problem == "prices arrive 20.0 s after their time"


@pytest.mark.parametrize("price", [0.0, -1.0, 2.0**64, 1e-13, math.nan, math.inf, -math.inf])
def test_an_invalid_price_is_rejected(price: float) -> None:
    validator = QuoteValidator()
    assert validator.validate(Quote("BTC", price), NOW) is None
    assert validator.problem == f"{price:g} is not a valid price"
    assert validator.validate(Quote("BTC", 100.0), NOW) is not None
    assert validator.problem is None


@pytest.mark.parametrize("outlier", [1.0, 100.0 * (1 - OUTLIER_CHANGE) - 1, 100.0 * (1 + OUTLIER_CHANGE) + 1, 10_000.0])
def test_an_outlier_is_rejected(outlier: float) -> None:
    validator = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    assert validator.validate(Quote("BTC", outlier), NOW) is None
    assert validator.problem is not None
    assert "rejected until further quotes confirm it" in validator.problem
    assert validator.validate(Quote("BTC", 100.5), NOW + seconds(1)) == Tick(NOW + seconds(1), 100.5)


def test_an_outlier_confirmed_by_further_quotes_is_accepted() -> None:
    validator = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    admitted = [validator.validate(Quote("BTC", price), NOW + seconds(i)) for i, price in enumerate((70.0, 70.2, 69.9))]
    assert [tick is not None for tick in admitted] == [False, False, True]


def test_outliers_that_disagree_do_not_confirm_each_other() -> None:
    validator = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    prices = (70.0, 50.0, 70.0, 50.0, 70.0, 50.0)
    assert all(validator.validate(Quote("BTC", price), NOW + seconds(i)) is None for i, price in enumerate(prices))


def test_outliers_between_valid_quotes_do_not_accumulate() -> None:
    validator = QuoteValidator(Tick(NOW - seconds(1), 100.0))
    for i in range(5):
        assert validator.validate(Quote("BTC", 70.0), NOW + seconds(2 * i)) is None
        assert validator.validate(Quote("BTC", 100.0), NOW + seconds(2 * i + 1)) is not None


def test_a_quote_older_than_a_day_is_rejected() -> None:
    for quoted_at in (NOW - timedelta(days=2), datetime(1970, 1, 21, tzinfo=UTC)):
        validator = QuoteValidator()
        assert validator.validate(Quote("BTC", 100.0, quoted_at), NOW) is None
        assert validator.problem == f"the newest price is dated {quoted_at:%Y-%m-%d %H:%M} UTC"
        assert validator.validate(Quote("BTC", 101.0, NOW), NOW) == Tick(NOW, 101.0)
        assert validator.problem is None
