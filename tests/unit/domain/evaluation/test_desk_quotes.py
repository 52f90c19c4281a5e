"""Quotes that a backtest of the desk shows, and the probability as it was known at each."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from desk_recordings import CLOSES_AT, QuoteRow, candles, market
from price_series import price_series

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.desk_quotes import (
    DeskMarkets,
    DeskQuotes,
    model_probabilities,
    pool_decisions,
    served_probabilities,
)
from pipelines.domain.evaluation.edge import Forecaster, decision, edge_scores, forecasts
from pipelines.domain.evaluation.recorded_quotes import RecordedQuotes
from pipelines.domain.markets.contracts import MarketResult
from pipelines.domain.markets.pool import PoolDecision, pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import MINUTES_PER_DAY, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum


def test_voids_are_shown_and_markets_without_a_result_or_with_contradictions_are_not() -> None:
    later = CLOSES_AT + timedelta(hours=1)
    markets = [
        market("VOID", result=MarketResult.VOID),
        market("OPEN", result=None),
        market("YES", closes_at=later, strike=110, result=MarketResult.YES),
        market("NO", closes_at=later, strike=100, result=MarketResult.NO),
    ]
    rows: list[QuoteRow] = [(number, 30, 0.4, 0.5) for number in range(4)]
    found = DeskMarkets(markets)
    shown = found.quotes(candles(markets, rows))
    assert shown.markets.tolist() == [0]
    assert shown.counted.tolist() == [False], "the result of a void scores nothing"
    assert found.left_out == {
        "markets without a final result": 1,
        "markets of events whose results contradict each other": 2,
        "quotes of markets that are left out": 3,
    }
    assert found.settled.contradictory == {markets[2].event_ticker}


def test_every_candle_of_the_last_hour_is_shown_whether_or_not_it_counts() -> None:
    rows: list[QuoteRow] = [(0, left, 0.4, 0.5) for left in (75, 60, 59, 1, 0)]
    rows += [(0, 30, 0.0, 0.5), (0, 29, 0.2, 0.5), (0, 28, 0.4, 0.5, 3.0), (0, 27, 0.5, 0.4)]
    found = DeskMarkets([market()])
    shown = found.quotes(candles([market()], rows))
    assert (shown.quotes.ttc_seconds // 60).tolist() == [59, 30, 29, 28, 27, 1]
    assert shown.counted.tolist() == [True, False, False, False, False, True]
    assert shown.ages_seconds.tolist() == [0, 0, 0, 3, 0, 0]
    assert np.isnan(shown.mids).tolist() == [False, True, True, False, True, False]
    assert found.left_out == {"quotes less than 1 or more than 59 minutes before the close": 3}


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    closes = closes_from_usd(*price_series("generated", "BTC", 2_000_000, 20 * MINUTES_PER_DAY))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def quotes(history: MarketHistory) -> DeskQuotes:
    """Each minute of the last two days, of three markets an hour, some of whose quotes do not count."""
    first = (history.end // MINUTES_PER_DAY - 2) * MINUTES_PER_DAY
    instants = np.repeat(np.arange(first + 1, first + 2 * MINUTES_PER_DAY), 3)
    left = 60 - instants % 60
    instants, left = instants[left < 60], left[left < 60]
    closes = np.asarray(history.scaled / history.scale)
    opened = closes[instants + left - 61 - history.first_minute]
    strikes = opened * (1 + np.tile([-0.001, 0.0, 0.001], len(instants) // 3))
    outcomes = closes[np.minimum(instants + left - 1 - history.first_minute, len(closes) - 1)] >= strikes
    random = np.random.default_rng(4)
    mids = np.clip(np.where(outcomes, 0.6, 0.4) + random.normal(0, 0.1, len(instants)), 0.05, 0.95)
    counted = random.random(len(instants)) < 0.7
    half = np.where(counted, 0.02, 0.2)
    found = RecordedQuotes(
        (instants + left) // 60,
        instants,
        60 * left,
        strikes,
        np.full(len(instants), np.nan),
        mids - half,
        mids + half,
        outcomes,
    )
    return DeskQuotes(found, np.arange(len(instants)), np.zeros(len(instants)), counted)


@pytest.mark.parametrize("model", ["standardised", "momentum"])
def test_counted_quotes_have_the_probabilities_of_the_scores(
    history: MarketHistory, quotes: DeskQuotes, model: str
) -> None:
    rule, config = SettlementRule.MEAN_60S, ModelConfig()
    found = model_probabilities(history, quotes, rule, model_named(model), config)
    scored = forecasts(history, quotes.quotes.part(quotes.counted), rule, model_named(model), config)
    assert found[quotes.counted] == pytest.approx(scored.probabilities[Forecaster.MODEL], abs=1e-12)
    assert np.isfinite(found).all()


def test_later_bars_and_quotes_change_no_earlier_probability(history: MarketHistory, quotes: DeskQuotes) -> None:
    rule, config, model = SettlementRule.MEAN_60S, ModelConfig(), model_named("standardised")
    whole = model_probabilities(history, quotes, rule, model, config)
    cut = history.end - 500
    early = quotes.quotes.instants <= cut
    part = model_probabilities(history.until(cut), quotes.part(early), rule, model, config)
    assert part.tolist() == whole[early].tolist()


def many_events(better: bool) -> tuple[DeskQuotes, np.ndarray]:
    """Ten quotes of each of 480 hourly events over 20 days, with a model that knows more, or less, than the mid."""
    events = np.repeat(np.arange(480), 10)
    instants = 29_001_600 + events * 60 + np.tile(np.arange(10, 60, 5), 480)
    random = np.random.default_rng(9)
    outcomes = np.repeat(random.random(480) < 0.5, 10)
    n, none = len(events), np.full(len(events), np.nan)
    found = RecordedQuotes(
        events,
        instants,
        (events * 60 + 60 + 29_001_600 - instants) * 60,
        np.ones(n),
        none,
        np.full(n, 0.48),
        np.full(n, 0.52),
        outcomes,
    )
    toward = np.where(outcomes == better, 0.6, 0.4)
    return DeskQuotes(found, events, np.zeros(n), np.ones(n, dtype=np.bool_)), toward


def test_the_pool_is_served_on_days_after_200_events_were_settled() -> None:
    quotes, by_model = many_events(better=True)
    found = pool_decisions(quotes, by_model, 300)
    # Of 24 events a day the last one closes at midnight, and its result is not known then.
    assert [found[day].reason for day in sorted(found)][:2] == [
        "0 settled events, 200 are needed",
        "23 settled events, 200 are needed",
    ]
    assert [one.served for _, one in sorted(found.items())] == [False] * 9 + [True] * 11
    assert pool_decisions(quotes, by_model, 0)[min(found) + 1].reason == "24 settled events, 200 are needed"
    worse = pool_decisions(*many_events(better=False), 300)
    assert not any(one.served for one in worse.values())


def test_the_decision_over_all_events_is_that_of_the_scores(history: MarketHistory, quotes: DeskQuotes) -> None:
    """The same Brier difference and interval, made from events instead of quotes."""
    counted = quotes.part(quotes.counted)
    scored = forecasts(history, counted.quotes, SettlementRule.MEAN_60S, model_named("standardised"), ModelConfig())
    events = np.repeat(counted.quotes.events, 1)
    repeated = [
        replace(
            counted,
            quotes=replace(
                counted.quotes,
                events=events + 1000 * number,
                instants=counted.quotes.instants + 2 * MINUTES_PER_DAY * number,
            ),
        )
        for number in range(6)
    ]
    joined = DeskQuotes.joined(repeated)
    by_model = np.tile(scored.probabilities[Forecaster.MODEL], 6)
    found = pool_decisions(joined, by_model, 0)
    last = max(found)
    known = joined.quotes.instants * 60 + joined.quotes.ttc_seconds <= last * 86_400
    mids = joined.quotes.mids
    whole = replace(
        scored,
        quotes=joined.quotes.part(known),
        probabilities={
            Forecaster.MID: mids[known],
            Forecaster.MODEL: by_model[known],
            Forecaster.POOL: pooled_with(mids, by_model)[known],
            Forecaster.CLIMATOLOGY: by_model[known],
        },
        sigma=np.tile(scored.sigma, 6)[known],
    )
    assert found[last].reason == decision(edge_scores(whole)).reason


def test_the_mid_is_believed_on_days_on_which_the_pool_is_not_served() -> None:
    quotes, by_model = many_events(better=True)
    days = np.unique(quotes.quotes.instants // MINUTES_PER_DAY).tolist()
    decisions = {day: PoolDecision(day == days[3], "") for day in days}
    found = served_probabilities(quotes, by_model, decisions)
    served = quotes.quotes.instants // MINUTES_PER_DAY == days[3]
    assert found[~served].tolist() == quotes.mids[~served].tolist()
    assert found[served].tolist() == pooled_with(quotes.mids, by_model)[served].tolist()
