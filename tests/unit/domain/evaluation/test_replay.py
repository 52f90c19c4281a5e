"""Models read at recorded quotes: as in other scores, and no quote knows of later ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from price_series import price_series
from recorded_markets import hourly_quotes

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.block_bootstrap import brier_difference
from pipelines.domain.evaluation.recorded_quotes import RecordedQuotes
from pipelines.domain.evaluation.replay import FOLD_DAYS, ReplayedDay, folds, quotes_with_bars, replay
from pipelines.domain.markets.basis import QuotedBasis
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models import probability
from pipelines.domain.models.registry import model_named
from pipelines.domain.models.standardised import StandardisedModel
from pipelines.domain.prices.bars import MINUTES_PER_DAY, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum

NONE = np.zeros((1, 1))
MOVES_BPS = np.array([-40.0, -15.0, -5.0, 5.0, 15.0, 40.0])


def one_day(history: MarketHistory, hours: int = 12) -> RecordedQuotes:
    """Quotes of 6 strikes around the price at the hour's beginning, on the last day; all are 49 to 51 cents."""
    day = (history.end // MINUTES_PER_DAY - 1) * MINUTES_PER_DAY
    starts, left = np.meshgrid(day + 60 * np.arange(hours), np.arange(59, 0, -1), indexing="ij")
    starts, left = starts.ravel(), left.ravel()
    prices = history.scaled[starts - 1 - history.first_minute] / history.scale
    strikes = (prices[:, None] * (1 + MOVES_BPS / 1e4)).ravel()
    n, each = len(strikes), len(MOVES_BPS)
    return RecordedQuotes(
        np.repeat(starts // 60, each),
        np.repeat(starts + 60 - left, each),
        np.repeat(60 * left, each),
        strikes,
        np.full(n, np.nan),
        np.full(n, 0.49),
        np.full(n, 0.51),
        np.repeat(history.scaled[starts + 59 - history.first_minute] / history.scale, each) >= strikes,
    )


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    closes = closes_from_usd(*price_series("generated", "BTC", 2_000_000, 35 * MINUTES_PER_DAY))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def day(history: MarketHistory) -> ReplayedDay:
    """12 hours of quotes."""
    (found,) = replay(history, one_day(history), StandardisedModel(), ModelConfig())
    return found


def quoted_at(day: ReplayedDay, bases_bps: np.ndarray) -> ReplayedDay:
    """Quotes of the model itself, for an index at these bases."""
    mids = day.probabilities(SettlementRule.MEAN_60S, bases_bps)[:, 0]
    return replace(day, quotes=replace(day.quotes, bids=mids - 0.01, asks=mids + 0.01))


@pytest.mark.parametrize("name", ["standardised", "climatology", "momentum", "student_t"])
def test_a_last_price_without_basis_is_read_as_in_other_scores(history: MarketHistory, name: str) -> None:
    (day,) = replay(history, one_day(history), model_named(name), ModelConfig())
    found, quotes = day.probabilities(SettlementRule.LAST_PRICE, NONE)[:, 0], day.quotes
    for row in range(0, len(found), 97):
        move = quotes.lower_usd[row] / day.prices_usd[row] - 1
        states = day.fit.rule.states(history, day.rows[row : row + 1])
        minutes = int(quotes.ttc_seconds[row] // 60)
        beyond = probability.for_scoring(day.fit, states, minutes, np.array([move * 1e4]))[0, 0]
        assert found[row] == pytest.approx(beyond if move > 0 else 1 - beyond, abs=1e-9)


def test_the_rule_makes_outcomes_near_the_close_more_certain(day: ReplayedDay) -> None:
    by_rule = {rule: day.probabilities(rule, NONE)[:, 0] for rule in SettlementRule}
    one = day.quotes.ttc_seconds == 60
    certainty = {rule: np.abs(p[one] - 0.5).mean() for rule, p in by_rule.items()}
    assert certainty[SettlementRule.MEAN_60S] > certainty[SettlementRule.LAST_PRICE]


def test_an_index_above_our_price_makes_every_strike_more_likely(day: ReplayedDay) -> None:
    above, below = (day.probabilities(SettlementRule.MEAN_60S, np.full((1, 1), bps)) for bps in (5.0, -5.0))
    assert (above >= below).all()
    assert (above - below).mean() > 0.01


@pytest.mark.parametrize("rule", list(SettlementRule))
def test_ranges_that_cover_all_values_have_probabilities_that_add_up_to_one(
    day: ReplayedDay, rule: SettlementRule
) -> None:
    """Below a strike, from it to one that is 50 dollars higher, and at or above that: less, between, greater."""
    low, none = day.quotes.lower_usd, np.full(len(day.quotes), np.nan)
    bases = np.full((len(low), 1), 3.0)
    found = [
        replace(day, quotes=replace(day.quotes, lower_usd=lower, upper_usd=upper)).probabilities(rule, bases)[:, 0]
        for lower, upper in ((none, low), (low, low + 50), (low + 50, none))
    ]
    assert np.sum(found, axis=0) == pytest.approx(1.0)
    assert all((p >= 0).all() for p in found)


@pytest.mark.parametrize("bps", [-3.0, 4.25])
def test_quotes_of_the_model_itself_show_their_basis(day: ReplayedDay, bps: float) -> None:
    bases = quoted_at(day, np.full((1, 1), bps)).quoted_bases(SettlementRule.MEAN_60S, QuotedBasis())
    assert (bases[:6] == 0.0).all()
    assert bases[-600:] == pytest.approx(bps, abs=0.1)


def test_a_basis_is_carried_to_the_next_day_but_not_over_a_longer_gap(day: ReplayedDay) -> None:
    quoted = QuotedBasis()
    quoted_at(day, np.full((1, 1), 4.0)).quoted_bases(SettlementRule.MEAN_60S, quoted)
    later = replace(day.quotes, instants=day.quotes.instants + MINUTES_PER_DAY)
    grid = replace(day.history, first_minute=day.history.first_minute + MINUTES_PER_DAY, cache={})
    tomorrow = replace(day, history=grid, quotes=later)
    assert tomorrow.quoted_bases(SettlementRule.MEAN_60S, quoted)[0] == pytest.approx(4.0, abs=0.2)

    quoted = QuotedBasis()
    quoted_at(day, np.full((1, 1), 4.0)).quoted_bases(SettlementRule.MEAN_60S, quoted)
    later = replace(day.quotes, instants=day.quotes.instants + 3 * MINUTES_PER_DAY)
    grid = replace(day.history, first_minute=day.history.first_minute + 3 * MINUTES_PER_DAY, cache={})
    assert replace(day, history=grid, quotes=later).quoted_bases(SettlementRule.MEAN_60S, quoted)[0] == 0.0


def test_a_basis_does_not_depend_on_the_present_or_later_quotes(day: ReplayedDay) -> None:
    changed = quoted_at(day, np.full((1, 1), 2.0))
    bases = changed.quoted_bases(SettlementRule.MEAN_60S, QuotedBasis())
    instants = changed.quotes.instants
    late = instants >= instants[2000]
    bids, asks = (
        np.where(late, other, side) for other, side in ((0.45, changed.quotes.bids), (0.55, changed.quotes.asks))
    )
    again = replace(changed, quotes=replace(changed.quotes, bids=bids, asks=asks))
    found = again.quoted_bases(SettlementRule.MEAN_60S, QuotedBasis())
    first_after = instants > instants[2000]
    assert found[~first_after].tolist() == bases[~first_after].tolist()
    assert not np.array_equal(found[first_after], bases[first_after])


def test_a_fit_does_not_depend_on_bars_of_its_day(history: MarketHistory, day: ReplayedDay) -> None:
    start = int(day.quotes.instants[0]) // MINUTES_PER_DAY * MINUTES_PER_DAY
    scaled = history.scaled.copy()
    scaled[start - history.first_minute + 700 :] *= 2  # after the quotes
    (again,) = replay(replace(history, scaled=scaled, cache={}), day.quotes, StandardisedModel(), ModelConfig())
    before = again.quotes.instants < start + 700
    found, expected = (one.probabilities(SettlementRule.MEAN_60S, NONE)[:, 0] for one in (again, day))
    assert found[before].tolist() == expected[before].tolist()


def test_quotes_without_a_bar_are_left_out(history: MarketHistory, day: ReplayedDay) -> None:
    scaled = history.scaled.copy()
    scaled[day.rows[0]] = np.nan
    kept = quotes_with_bars(replace(history, scaled=scaled, cache={}), day.quotes)
    assert len(kept) == len(day.quotes) - len(MOVES_BPS)
    outside = replace(day.quotes, instants=day.quotes.instants + 365 * MINUTES_PER_DAY)
    assert len(quotes_with_bars(history, outside)) == 0


def test_folds_begin_with_their_first_quote(day: ReplayedDay) -> None:
    def after(days: int) -> RecordedQuotes:
        return replace(day.quotes, instants=day.quotes.instants + days * MINUTES_PER_DAY)

    joined = RecordedQuotes.joined([after(400), after(0), after(FOLD_DAYS - 1), after(FOLD_DAYS)])
    found = folds(joined)
    assert [len(fold) // len(day.quotes) for fold in found] == [2, 1, 1]
    assert np.concatenate([fold.instants for fold in found]).tolist() == joined.instants.tolist()


def _joined(days: Sequence[ReplayedDay], rule: SettlementRule, bases: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([day.probabilities(rule, one)[:, 0] for day, one in zip(days, bases, strict=True)])


@pytest.mark.real_data
def test_the_rule_and_the_basis_improve_the_model_on_recorded_quotes() -> None:
    closes = closes_from_usd(*price_series("real", "BTC", 1_400_000, 610_000))
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    quotes, quoted = quotes_with_bars(history, hourly_quotes()), QuotedBasis()
    days = list(replay(history, quotes, StandardisedModel(), ModelConfig()))
    bases = [day.quoted_bases(SettlementRule.MEAN_60S, quoted)[:, None] for day in days]
    with_both, with_basis = (_joined(days, rule, bases) for rule in reversed(SettlementRule))
    without = _joined(days, SettlementRule.LAST_PRICE, [NONE] * len(days))
    one = quotes.ttc_seconds == 60
    assert one.sum() > 100
    outcomes, events = quotes.outcomes, quotes.events
    assert brier_difference(with_both[one], with_basis[one], outcomes[one], events[one]).estimate < 0
    assert brier_difference(with_both[one], without[one], outcomes[one], events[one]).high < 0
    assert brier_difference(with_both, quotes.mids, outcomes, events).high < 0
