"""Intervals: the closed form against real resampling of weeks, and Wilson against scipy."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from pipelines.domain.bars import closes_from_usd
from pipelines.domain.config import ModelConfig
from pipelines.domain.evidence import BlockSums, independent_outcomes, interval_pct
from pipelines.domain.fingerprint import compute_fingerprints, tails_every
from pipelines.domain.history import MarketHistory, market_history
from pipelines.domain.momentum import compute_momentum
from pipelines.domain.standardised import (
    AXIS_STEP,
    EVIDENCE_STEP,
    TOP,
    Counts,
    count_weeks,
    fit_parameters,
    fit_tables,
    own_share,
    week_weight,
)
from pipelines.domain.volatility import track_volatility

RESAMPLES = 1500


@pytest.fixture(scope="module")
def history(shared: Path) -> MarketHistory:
    """40 real weeks of BTC."""
    frame = pl.read_parquet(shared / "data" / "prices" / "btc_1m.parquet", columns=["timestamp", "close"])
    frame = frame.slice(2_000_000, 40 * 7 * 1440)
    closes = closes_from_usd((frame["timestamp"].dt.epoch("s") // 60).to_numpy(), frame["close"].to_numpy())
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def weeks(history: MarketHistory) -> dict[int, Counts]:
    parameters = fit_parameters(history)
    track = track_volatility(history.log_close, history.first_minute, parameters.volatility)
    return count_weeks(history, parameters, track, 0)


def resampled_error(hits: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> float:
    """Standard deviation of sum(w K) / sum(w N) when whole weeks are drawn with replacement."""
    draws = np.random.default_rng(3).integers(0, len(weights), (RESAMPLES, len(weights)))
    return float(((weights * hits)[draws].sum(axis=1) / (weights * rows)[draws].sum(axis=1)).std())


def test_the_closed_form_is_the_bootstrap_over_weeks_for_standardised_tables(weeks: dict[int, Counts]) -> None:
    newest = max(weeks)
    tables = fit_tables(weeks, newest).tables
    assert tables.evidence is not None
    used = sorted(weeks)
    weights = np.array([week_weight(newest - week) for week in used])
    every = EVIDENCE_STEP // AXIS_STEP
    for group, horizon, node in ((0, 59, 1), (0, 14, 2), (5, 59, 2), (9, 29, 1), (1, 4, 3)):
        tails = np.stack([tails_every(weeks[week][horizon], TOP, every)[0][:, node] for week in used])
        rows = np.stack([weeks[week][horizon].sum(axis=1) for week in used])
        together = resampled_error(tails.sum(axis=1), rows.sum(axis=1), weights)
        if group == 0:
            expected = together
        else:  # own and common distribution resampled together, at the share that the table has
            trust = float(own_share(tables.n_eff[group : group + 1, horizon])[0])
            draws = np.random.default_rng(3).integers(0, len(used), (RESAMPLES, len(used)))
            own = (weights * tails[:, group - 1])[draws].sum(1) / (weights * rows[:, group - 1])[draws].sum(1)
            common = (weights * tails.sum(1))[draws].sum(1) / (weights * rows.sum(1))[draws].sum(1)
            expected = float((trust * own + (1 - trust) * common).std())
        share = tables.positive[group, horizon, node * every] / 100
        independent = tables.evidence.positive[group, horizon, node]
        assert np.sqrt(share * (1 - share) / independent) == pytest.approx(expected, rel=0.12), (group, horizon, node)
        assert independent < tables.n_eff[0, horizon] / 3, "rows overstate the evidence"


def test_the_closed_form_is_the_bootstrap_over_weeks_for_fingerprints(history: MarketHistory) -> None:
    closes, config = history.closes(), ModelConfig()
    momentum = compute_momentum(closes, config)
    tables = compute_fingerprints(closes, momentum, config)
    assert tables.evidence is not None
    week = closes.minutes // (7 * 1440)
    for bucket, horizon, node, move in ((None, 60, 1, 25), (None, 15, 2, 50), (-30, 60, 2, 50), (7, 30, 1, 25)):
        inside = np.arange(len(closes) - horizon)
        chosen = inside if bucket is None else inside[momentum.buckets[inside] == bucket]
        chosen = chosen[closes.minutes[chosen + horizon] == closes.minutes[chosen] + horizon]
        rise = (closes.scaled[chosen + horizon] - closes.scaled[chosen]) * 10_000 >= move * closes.scaled[chosen]
        number = week[chosen] - week[0]
        hits, rows = np.bincount(number, rise), np.bincount(number)
        expected = resampled_error(hits, rows, np.ones(len(rows)))
        share = hits.sum() / rows.sum()
        independent = tables.evidence.positive[tables.index(bucket), horizon - 1, node]
        assert tables.positive[tables.index(bucket), horizon - 1, move // 5] == pytest.approx(100 * share)
        assert np.sqrt(share * (1 - share) / independent) == pytest.approx(expected, rel=0.15), (bucket, horizon, move)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 20), (10, 20), (20, 20), (3, 1000), (500, 1000)])
def test_intervals_are_wilsons(hits: int, n: int) -> None:
    low, high = interval_pct(np.array([100.0 * hits / n]), np.array([float(n)]))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert low[0] == pytest.approx(100 * expected.low, abs=1e-6)
    assert high[0] == pytest.approx(100 * expected.high, abs=1e-6)
    assert low[0] < high[0]


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(11)
    for truth in (0.05, 0.3, 0.5):
        found = rng.binomial(400, truth, 4000) / 400
        low, high = interval_pct(100 * found, np.full(4000, 400.0))
        assert ((low <= 100 * truth) & (100 * truth <= high)).mean() == pytest.approx(0.95, abs=0.02)


def test_weeks_that_agree_are_much_evidence_and_weeks_that_do_not_are_little() -> None:
    rows, share = np.full((20, 1), 1000), np.array([0.5])
    alike, apart = BlockSums(), BlockSums()
    for week in range(20):
        alike.add(np.array([500 + (-1) ** week]), rows[week], 1.0)
        apart.add(np.array([1000 * (week % 2)]), rows[week], 1.0)
    total = np.array([20_000.0])
    many = independent_outcomes(share, alike.variance(share, total), np.array([20_000.0]))
    few = independent_outcomes(share, apart.variance(share, total), np.array([20_000.0]))
    assert many[0] == 20_000.0, "never more than there are rows"
    assert few[0] == pytest.approx(19.0, rel=0.01), "a week is one outcome here"


def test_an_event_never_seen_takes_the_evidence_of_the_nearest_that_was() -> None:
    share, variance = np.array([0.5, 0.1, 0.0, 0.0]), np.array([1e-3, 1e-4, 0.0, 0.0])
    found = independent_outcomes(share, variance, np.array(1e9))
    assert found.tolist() == pytest.approx([250.0, 900.0, 900.0, 900.0])
    _, high = interval_pct(100 * share, found)
    assert high[-1] > 0.3, "and its interval is not empty"


def test_one_week_alone_tells_nothing_of_its_own_error() -> None:
    sums = BlockSums()
    sums.add(np.array([1]), np.array([10]), 1.0)
    assert np.isnan(sums.variance(np.array([0.1]), np.array([10.0]))).all()


def test_fingerprints_know_their_evidence_at_every_bucket(history: MarketHistory) -> None:
    closes = history.closes()
    scores = compute_momentum(closes, ModelConfig())
    evidence = compute_fingerprints(closes, scores, ModelConfig()).evidence
    assert evidence is not None
    assert evidence.positive.shape == (62, 60, 9)
    assert (evidence.positive[0] > 0).all()
