"""Scores of the mid, the model, their pool and climatology: on the same quotes, paired, by group."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import price_series
from recorded_markets import hourly_quotes, quarter_hour_quotes
from sklearn.metrics import brier_score_loss, log_loss

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.block_bootstrap import brier_difference
from pipelines.domain.evaluation.edge import (
    Dimension,
    EdgeScore,
    Forecaster,
    Forecasts,
    cumulative_difference,
    decision,
    edge_reliability_bins,
    edge_scores,
    forecasts,
    overall,
)
from pipelines.domain.evaluation.recorded_quotes import RecordedQuotes
from pipelines.domain.evaluation.replay import quotes_with_bars
from pipelines.domain.markets.pool import pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import MINUTES_PER_DAY, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum


def some_forecasts(seed: int, events: int, *, days: int = 5, quotes: int = 400) -> Forecasts:
    """Random forecasts of quotes of `events` events on about `days` days."""
    random = np.random.default_rng(seed)
    event = np.sort(random.integers(events, size=quotes))
    event[:events] = np.arange(events)  # each event has a quote
    event.sort()
    left = random.integers(1, 60, size=quotes)
    instants = 29_000_000 + event * 60 * 24 * days // events - left
    order = np.argsort(instants, kind="stable")
    mids, model, climatology = random.uniform(0.02, 0.98, size=(3, quotes))
    half = np.minimum(random.choice([0.005, 0.015, 0.04], size=quotes), np.minimum(mids, 1 - mids) - 0.001)
    outcomes = random.random(quotes) < mids
    found = RecordedQuotes(
        event, instants, 60 * left, np.full(quotes, 1.0), np.full(quotes, np.nan), mids - half, mids + half, outcomes
    ).part(order)
    probabilities = {
        Forecaster.MID: found.mids,
        Forecaster.MODEL: model[order],
        Forecaster.POOL: pooled_with(found.mids, model[order]),
        Forecaster.CLIMATOLOGY: climatology[order],
    }
    return Forecasts(found, probabilities, np.zeros(quotes), random.uniform(1e-4, 9e-4, size=quotes))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_scores_and_intervals_are_those_of_their_definitions(seed: int, events: int) -> None:
    found = some_forecasts(seed, events)
    quotes, scores = found.quotes, edge_scores(found)
    for forecaster in Forecaster:
        score, p = overall(scores, forecaster), found.probabilities[forecaster]
        assert score.brier.value == pytest.approx(brier_score_loss(quotes.outcomes, p))
        assert score.log_loss.value == pytest.approx(log_loss(quotes.outcomes, p, labels=[False, True]))
        assert (score.quotes, score.events) == (len(quotes), events)
        assert score.days == len(np.unique(quotes.close_days))
        assert score.mean_probability == pytest.approx(p.mean())
        expected = brier_difference(p, quotes.mids, quotes.outcomes, quotes.events)
        difference = score.brier_difference.by_event
        assert difference is not None
        assert (difference.estimate, difference.low, difference.high) == pytest.approx(
            (expected.estimate, expected.low, expected.high), abs=1e-12
        )
        assert score.brier_difference.value == pytest.approx(
            score.brier.value - overall(scores, Forecaster.MID).brier.value
        )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_groups_of_a_dimension_hold_every_quote_once(seed: int) -> None:
    found = some_forecasts(seed, 12)
    scores = edge_scores(found)
    for dimension in Dimension:
        for forecaster in Forecaster:
            of = [one for one in scores if one.dimension is dimension and one.forecaster is forecaster]
            assert sum(one.quotes for one in of) == len(found.quotes)
            assert np.average([one.brier.value for one in of], weights=[one.quotes for one in of]) == pytest.approx(
                overall(scores, forecaster).brier.value
            )


def test_a_model_that_knows_more_than_the_mid_makes_the_pool_served() -> None:
    found = some_forecasts(1, 300, quotes=3000)
    better = np.where(found.quotes.outcomes, 0.9, 0.1)
    probabilities = {
        **found.probabilities,
        Forecaster.MODEL: better,
        Forecaster.POOL: pooled_with(found.quotes.mids, better),
    }
    assert decision(edge_scores(replace(found, probabilities=probabilities))).served
    assert decision(edge_scores(found)).reason.startswith("the mid is better")
    few = some_forecasts(1, 120)
    assert decision(edge_scores(few)).reason == "120 settled events, 200 are needed"


def test_one_event_has_no_interval_and_one_day_none_by_day() -> None:
    one = overall(edge_scores(some_forecasts(3, 1, quotes=50)), Forecaster.MODEL)
    assert (one.events, one.brier.by_event, one.brier_difference.by_event) == (1, None, None)
    assert decision(edge_scores(some_forecasts(3, 1, quotes=50))).reason == "1 settled event, 200 are needed"
    day = overall(edge_scores(some_forecasts(3, 9, days=0)), Forecaster.MODEL)
    assert (day.events, day.days, day.brier.by_day) == (9, 1, None)
    assert day.brier.by_event is not None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_cumulative_differences_end_at_the_difference(seed: int, events: int) -> None:
    found = some_forecasts(seed, events)
    sums = cumulative_difference(found, Forecaster.MODEL)
    assert len(sums) == events
    assert sums[-1] == pytest.approx(overall(edge_scores(found), Forecaster.MODEL).brier_difference.value)


def test_reliability_bins_hold_the_means_of_their_quotes() -> None:
    found = some_forecasts(5, 20)
    bins = edge_reliability_bins(found, Forecaster.MODEL)
    assert 15 < len(bins) <= 20
    assert [int(predicted * 20) for predicted, _ in bins] == sorted({int(predicted * 20) for predicted, _ in bins})
    frame = pl.DataFrame({"p": found.probabilities[Forecaster.MODEL], "y": found.quotes.outcomes})
    expected = frame.group_by((pl.col("p") * 20).cast(pl.Int64)).agg(
        pl.col("p").mean().alias("mean"), pl.col("y").mean()
    )
    found_bins, wanted = np.array(bins), expected.sort("mean").to_numpy()[:, 1:]
    assert found_bins == pytest.approx(wanted)


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    closes = closes_from_usd(*price_series("generated", "BTC", 2_000_000, 35 * MINUTES_PER_DAY))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


def quotes_on(history: MarketHistory, day: int) -> RecordedQuotes:
    """Every 7th minute of a day, of one market an hour at the price of the day's start."""
    instants = day * MINUTES_PER_DAY + np.arange(1, MINUTES_PER_DAY, 7)
    left = 60 - instants % 60
    kept = left < 60
    instants, left = instants[kept], left[kept]
    n = len(instants)
    strike = float(history.scaled[day * MINUTES_PER_DAY - 1 - history.first_minute] / history.scale)
    closes = history.scaled[instants + left - 1 - history.first_minute] / history.scale
    none = np.full(n, np.nan)
    return RecordedQuotes(
        instants // 60,
        instants,
        60 * left,
        np.full(n, strike),
        none,
        np.full(n, 0.4),
        np.full(n, 0.5),
        closes >= strike,
    )


@pytest.mark.parametrize("rule", list(SettlementRule))
@pytest.mark.parametrize("model", ["standardised", "momentum"])
def test_forecasts_know_nothing_of_later_bars_and_quotes(
    history: MarketHistory, rule: SettlementRule, model: str
) -> None:
    last = history.end // MINUTES_PER_DAY - 1
    quotes = RecordedQuotes.joined([quotes_on(history, last - 1), quotes_on(history, last)])
    whole = forecasts(history, quotes, rule, model_named(model), ModelConfig())
    cut = last * MINUTES_PER_DAY - 300
    early = quotes.instants <= cut
    part = forecasts(history.until(cut), quotes.part(early), rule, model_named(model), ModelConfig())
    for forecaster in Forecaster:
        assert part.probabilities[forecaster].tolist() == whole.probabilities[forecaster][early].tolist()
    assert part.bases_bps.tolist() == whole.bases_bps[early].tolist()
    assert (whole.sigma > 0).all()


def test_too_little_history_is_refused(history: MarketHistory) -> None:
    day = history.first_minute // MINUTES_PER_DAY + 1
    with pytest.raises(ValueError, match="too"):
        forecasts(history, quotes_on(history, day), SettlementRule.MEAN_60S, model_named("standardised"), ModelConfig())


def real_forecasts(symbol: str, quotes: RecordedQuotes, start: int, minutes: int) -> Forecasts:
    closes = closes_from_usd(*price_series("real", symbol, start, minutes))
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    return forecasts(
        history, quotes_with_bars(history, quotes), SettlementRule.MEAN_60S, model_named("standardised"), ModelConfig()
    )


def difference(scores: list[EdgeScore], forecaster: Forecaster) -> tuple[float, float, float]:
    found = overall(scores, forecaster).brier_difference.by_event
    assert found is not None
    return found.estimate, found.low, found.high


@pytest.mark.real_data
def test_the_pool_is_better_than_the_mid_on_the_recorded_hourly_ladders() -> None:
    scores = edge_scores(real_forecasts("BTC", hourly_quotes(), 1_400_000, 610_000))
    estimate, low, high = difference(scores, Forecaster.POOL)
    assert estimate <= -0.0012
    assert low < high < 0
    assert difference(scores, Forecaster.MODEL)[2] < 0
    assert difference(scores, Forecaster.CLIMATOLOGY)[1] > 0
    assert decision(scores).served


@pytest.mark.real_data
def test_the_mid_is_served_on_the_recorded_quarter_hours() -> None:
    quotes = quarter_hour_quotes()
    assert set((quotes.instants + quotes.ttc_seconds // 60) % 60) == {0, 15, 30, 45}
    scores = edge_scores(real_forecasts("BTC", quotes, 1_950_000, 610_000))
    assert difference(scores, Forecaster.MODEL)[0] > 0
    assert difference(scores, Forecaster.POOL)[0] > 0
    assert decision(scores).reason == f"{overall(scores, Forecaster.POOL).events} settled events, 200 are needed"
