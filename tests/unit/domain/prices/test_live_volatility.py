"""The live state at each tick equals the state of the fit at each bar."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from price_series import bar_series, without
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.registry import model_named
from pipelines.domain.models.standardised import StandardisedRule
from pipelines.domain.models.standardised_fingerprint import fit_parameters
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.price_range import MIN_TICKS, PriceRange, tick_correction
from pipelines.domain.prices.ticks import Tick, TickHistory
from pipelines.domain.prices.volatility import LiveVolatility, VolatilityState

DAY = 1440
FIT_DAYS = 20


@pytest.fixture(scope="module", params=SOURCES)
def history(request: pytest.FixtureRequest) -> MarketHistory:
    """22 days of ETH with three gaps on the last day."""
    last = (FIT_DAYS + 1) * DAY
    gone = np.r_[last + 100 : last + 101, last + 400 : last + 403, last + 900 : last + 1000]
    minutes, usd, extremes = bar_series(request.param, "ETH", 1_700_000, (FIT_DAYS + 2) * DAY)
    closes = closes_from_usd(*without((minutes, usd), gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()), np.delete(extremes, gone, axis=1))


@pytest.fixture(scope="module")
def rule(history: MarketHistory) -> StandardisedRule:
    return StandardisedRule(fit_parameters(history.until(history.first_minute + FIT_DAYS * DAY)))


def state_at(history: MarketHistory, rule: StandardisedRule, row: int) -> VolatilityState:
    track = rule.track(history)
    close = float(history.scaled[row] / history.scale)
    return VolatilityState(
        history.first_minute + row, close, float(track.mean_abs_return[row]), tuple(track.variances[:, row].tolist())
    )


def ticks_of_bars(
    history: MarketHistory, first: int, range_ratio: float
) -> tuple[MarketHistory, dict[int, list[tuple[float, float]]]]:
    """Ticks (instant, price) of each bar from row `first` on, and the history with the ranges that they stand for.

    Most bars have 30 ticks, every seventh has 5, which are too few for a range, and every fifth has its range as a bar.
    """
    assert history.log_extremes is not None
    rng, extremes, ticks = np.random.default_rng(2), history.log_extremes.copy(), {}
    for row in np.flatnonzero(~np.isnan(history.scaled[first:])) + first:
        if row % 5 == 0:
            continue
        n = 5 if row % 7 == 0 else 30
        inside = np.exp(rng.uniform(*history.log_extremes[::-1, row], n))
        inside[-1] = np.exp(history.log_close[row])
        instants = history.first_minute + row + np.arange(1, n + 1) / n
        ticks[int(row)] = list(zip(instants.tolist(), inside.tolist(), strict=True))
        if n < MIN_TICKS:
            extremes[:, row] = history.log_close[row]
            continue
        before = history.log_close[row - 1]
        low, high = min(np.log(inside.min()), before), max(np.log(inside.max()), before)
        extremes[:, row] = low + (high - low) * np.sqrt(tick_correction(n, range_ratio)), low
    return replace(history, log_extremes=extremes, cache={}), ticks


@pytest.mark.slow
def test_replaying_a_day_tick_by_tick_gives_the_states_of_the_fit_within_1e_9(
    history: MarketHistory, rule: StandardisedRule
) -> None:
    first = len(history) - DAY
    history, ticks_of_row = ticks_of_bars(history, first, rule.parameters.volatility.range_ratio)
    assert history.log_extremes is not None
    live = LiveVolatility(state_at(history, rule, first - 1), rule.parameters.volatility)
    ticks = TickHistory(ModelConfig())
    compared = 0
    moves = np.array([5.0, 50.0, -50.0, 150.0])
    for row in range(first - 40, len(history)):
        if np.isnan(history.scaled[row]):
            continue
        close, instant = float(history.scaled[row] / history.scale), history.first_minute + row + 1
        at = datetime.fromtimestamp(instant * 60, UTC)
        ticks.add(Tick(at, close))
        if row in ticks_of_row:
            live.add_all(ticks_of_row[row])
        else:
            live.add(float(instant), close, PriceRange(*np.exp(history.log_extremes[:, row]).tolist()))
        if row < first or np.isnan(history.score[row]):
            continue
        score_pct, _ = ticks.momentum()
        if score_pct is None:
            continue
        now = MarketStates(
            np.array([float(instant)]), np.array([score_pct / 100]), np.array(live.current_state().variances)[:, None]
        )
        then = rule.states(history, np.array([row]))
        np.testing.assert_allclose(now.variances, then.variances, rtol=1e-9)
        np.testing.assert_allclose(now.score, then.score, rtol=1e-9, atol=1e-15)
        for ttc in (0.25, 1.0, 17.0, 60.0):
            np.testing.assert_allclose(rule.sigma(now, ttc), rule.sigma(then, ttc), rtol=1e-9)
            np.testing.assert_allclose(rule.positions(now, ttc, moves), rule.positions(then, ttc, moves), rtol=1e-9)
        assert rule.buckets(now).tolist() == rule.buckets(then).tolist()
        compared += 1
    assert compared > 1200


def test_a_tick_raises_volatility_before_its_bar_closes(history: MarketHistory, rule: StandardisedRule) -> None:
    start = state_at(history, rule, len(history) - 1)
    live = LiveVolatility(start, rule.parameters.volatility)
    live.add(start.minute + 1.1, start.close * 1.01)
    assert live.current_state().variances[0] > 3 * start.variances[0]
    calm = LiveVolatility(start, rule.parameters.volatility)
    calm.add(start.minute + 1.9, start.close)
    assert calm.current_state().variances[0] < start.variances[0]


def test_a_wide_range_raises_volatility_although_the_price_returns(
    history: MarketHistory, rule: StandardisedRule
) -> None:
    start = state_at(history, rule, len(history) - 1)
    swinging, still = (LiveVolatility(start, rule.parameters.volatility) for _ in range(2))
    for second in range(1, 31):
        swinging.add(start.minute + 1 + second / 60, start.close * (1 + 0.004 * (second % 2)))
        still.add(start.minute + 1 + second / 60, start.close)
    after, before = swinging.current_state(), still.current_state()
    assert after.variances[:4] == before.variances[:4]
    assert after.variances[4] > 2 * before.variances[4]
    instant = np.array([start.minute + 1.5])
    sigmas = [
        float(rule.sigma(MarketStates(instant, np.zeros(1), np.array(state.variances)[:, None]), 5.0)[0])
        for state in (before, after)
    ]
    assert sigmas[1] > 1.1 * sigmas[0]


def test_a_smoothed_path_between_closes_counts_its_closes_only(history: MarketHistory, rule: StandardisedRule) -> None:
    start = state_at(history, rule, len(history) - 1)
    smoothed = LiveVolatility(start, rule.parameters.volatility, with_ranges=False)
    closes = LiveVolatility(start, rule.parameters.volatility)
    ticks = [(start.minute + 1 + second / 30, start.close * (1 + second * 1e-5)) for second in range(1, 61)]
    smoothed.add_all(ticks)
    closes.add_all(ticks[29::30])
    assert smoothed.current_state() == closes.current_state()


def test_a_tick_that_arrives_twice_counts_once(history: MarketHistory, rule: StandardisedRule) -> None:
    start = state_at(history, rule, len(history) - 1)
    once, twice = (LiveVolatility(start, rule.parameters.volatility) for _ in range(2))
    ticks = [(start.minute + 1 + second / 60, start.close * (1 + 1e-4 * (second % 3))) for second in range(1, 41)]
    once.add_all(ticks)
    for tick in ticks:
        twice.add_all([tick, tick])
    assert twice.current_state() == once.current_state()


def test_a_minute_loaded_with_its_range_continues_as_if_its_ticks_had_been_added(
    history: MarketHistory, rule: StandardisedRule
) -> None:
    start = state_at(history, rule, len(history) - 1)
    ticks = [(start.minute + 1 + second / 60, start.close * (1 + 1e-4 * (second % 7))) for second in range(1, 91)]
    running, restarted = (LiveVolatility(start, rule.parameters.volatility) for _ in range(2))
    running.add_all(ticks)
    for part in (ticks[:60], ticks[60:75]):
        prices = [price for _, price in part]
        restarted.add(*part[-1], PriceRange(max(prices), min(prices), len(part)))
    restarted.add_all(ticks[70:])
    assert restarted.current_state() == running.current_state()


def test_a_gap_keeps_the_state_and_the_first_tick_after_it_adds_no_return(
    history: MarketHistory, rule: StandardisedRule
) -> None:
    start = state_at(history, rule, len(history) - 1)
    live = LiveVolatility(start, rule.parameters.volatility)
    live.add(start.minute + 300.5, start.close * 1.2)
    assert live.current_state().variances == start.variances
    live.add(start.minute + 301.0, start.close * 1.2)
    live.add(start.minute + 302.0, start.close * 1.2)
    assert live.current_state().variances[0] < start.variances[0], "the next minute has a return"


def test_ticks_out_of_order_are_ignored(history: MarketHistory, rule: StandardisedRule) -> None:
    start = state_at(history, rule, len(history) - 1)
    live = LiveVolatility(start, rule.parameters.volatility)
    live.add_all([(start.minute - 5.0, 1.0), (start.minute + 1.0, 1.0)])
    assert live.current_state() == start
    live.add(start.minute + 1.5, start.close)
    before = live.current_state()
    live.add(start.minute + 1.2, start.close * 2)
    assert live.current_state() == before


def test_a_rule_is_restored_from_its_json(history: MarketHistory, rule: StandardisedRule) -> None:
    again = model_named("standardised").rule(rule.as_json())
    states = rule.states(history, np.arange(len(history) - DAY, len(history) - DAY + 50))
    moves = np.array([10.0, -75.0])
    assert again.buckets(states).tolist() == rule.buckets(states).tolist()
    assert again.positions(states, 30.0, moves).tolist() == rule.positions(states, 30.0, moves).tolist()


def test_instants_are_exact_to_the_microsecond() -> None:
    at = datetime(2026, 7, 1, 12, 0, 59, 999_999, tzinfo=UTC)
    assert Tick(at, 1.0).minutes < Tick(at + timedelta(microseconds=1), 1.0).minutes
    assert (
        Tick(at + timedelta(microseconds=1), 1.0).minutes
        == int(datetime(2026, 7, 1, 12, 1, tzinfo=UTC).timestamp()) // 60
    )
