"""Uncertainty of probabilities: standard errors, intervals and edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import price_series
from real_data import SOURCES
from scipy.stats import binomtest, norm

from pipelines.domain.configuration.model import AgeWeight, ModelConfig
from pipelines.domain.models.fingerprint import compute_fingerprints, tails
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_STEP,
    BINS,
    GROUPS,
    HORIZON_MINUTES,
    TOP,
    UNCERTAINTY_STEP,
    Counts,
    count_weeks,
    decay_weight,
    fit_parameters,
    fit_tables,
    shrinkage_weight,
    weeks_in_window,
)
from pipelines.domain.models.uncertainty import BlockSums, independent_outcomes, wilson_interval_pct
from pipelines.domain.prices.bars import Closes, Floats, closes_from_usd
from pipelines.domain.prices.history import market_history
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.volatility import track_volatility

DAY, WEEK = 1440, 7 * 1440
RESAMPLES = 2_000
EVERY = UNCERTAINTY_STEP // AXIS_STEP


@pytest.fixture(scope="module", params=SOURCES)
def closes(request: pytest.FixtureRequest) -> Closes:
    """30 weeks of ETH."""
    return closes_from_usd(*price_series(request.param, "ETH", 1_300_000, 30 * WEEK))


@pytest.fixture(scope="module")
def weeks(closes: Closes) -> dict[int, Counts]:
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    parameters = fit_parameters(history)
    track = track_volatility(history.log_close, history.first_minute, parameters.volatility)
    return count_weeks(history, parameters, track, 0)


def resampled_errors(hits: Floats, rows: Floats, weights: Floats) -> Floats:
    """Standard error of sum(w K) / sum(w N) over resampled weeks; `hits`, `rows`: [weeks, ...]."""
    drawn = np.random.default_rng(8).multinomial(len(weights), np.full(len(weights), 1 / len(weights)), RESAMPLES)
    times = drawn * weights
    return np.asarray((np.tensordot(times, hits, 1) / np.tensordot(times, rows, 1)).std(axis=0))


def test_standard_errors_of_frequent_cells_equal_those_of_resampled_weeks(weeks: dict[int, Counts]) -> None:
    newest = max(weeks)
    counted = fit_tables(weeks, newest)
    tables, uncertainty = counted.tables, counted.tables.uncertainty
    assert uncertainty is not None
    used = weeks_in_window(weeks, newest)
    weights = np.array([decay_weight(newest - week) for week in used])
    drawn = np.random.default_rng(8).multinomial(len(used), np.full(len(used), 1 / len(used)), RESAMPLES) * weights
    horizons = np.array([0, 4, 14, 29, 59])
    stacked = np.stack([weeks[week][horizons] for week in used]).astype(np.float64)
    rows = stacked.sum(axis=3)
    trust = shrinkage_weight(tables.n_eff[1:].T)[horizons]
    own_rows, all_rows = np.tensordot(drawn, rows, 1), np.tensordot(drawn, rows.sum(axis=2), 1)
    compared = 0
    for number, (side, found) in enumerate(
        ((tables.positive, uncertainty.positive), (tables.negative, uncertainty.negative))
    ):
        hits = tails(stacked, TOP, EVERY)[number]
        for node in range(5):
            common = np.tensordot(drawn, hits[..., node].sum(axis=2), 1) / all_rows
            own = np.tensordot(drawn, hits[..., node], 1) / own_rows
            mixed = trust * own + (1 - trust) * common[..., None]
            expected = np.concatenate([common[..., None], mixed], axis=2).std(axis=0).T
            share = side[:, horizons, node * EVERY] / 100
            closed = np.sqrt(share * (1 - share) / found[:, horizons, node])
            # Limited to the effective rows.
            free = found[:, horizons, node] < 0.999 * tables.n_eff[:1, horizons]
            frequent = free & (share > 0.02) & (share < 0.98)
            ratio = closed[frequent] / expected[frequent]
            assert np.median(ratio) == pytest.approx(1.0, abs=0.06)
            assert (np.abs(ratio - 1) < 0.2).all()
            compared += int(frequent.sum())
    assert compared > 300


def test_standard_errors_of_weighted_fingerprints_equal_those_of_resampled_weeks(closes: Closes) -> None:
    config = ModelConfig(age_weights=(AgeWeight(70, 5), AgeWeight(140, 3)))
    momentum = compute_momentum(closes, config)
    tables = compute_fingerprints(closes, momentum, config)
    assert tables.uncertainty is not None
    age = closes.minutes[-1] - closes.minutes
    weight = np.where(age < 70 * DAY, 5, np.where(age < 140 * DAY, 3, 1))
    block = np.unique(np.stack([closes.minutes // WEEK, weight]), axis=1, return_inverse=True)[1].reshape(-1)
    for bucket, horizon, move in ((None, 60, 50), (None, 5, 25), (0, 30, 25), (-30, 60, 100), (12, 15, 25)):
        rows = np.arange(len(closes) - horizon)
        if bucket is not None:
            rows = rows[momentum.buckets[rows] == bucket]
        rows = rows[closes.minutes[rows + horizon] - closes.minutes[rows] == horizon]
        fell = (closes.scaled[rows + horizon] - closes.scaled[rows]) * 10_000 <= -move * closes.scaled[rows]
        blocks = int(block.max()) + 1
        count = np.bincount(block[rows], weight[rows], blocks)
        hits = np.bincount(block[rows], weight[rows] * fell, blocks)
        expected = float(resampled_errors(hits, count, np.ones(blocks)))
        share = hits.sum() / count.sum()
        at = tables.index(bucket)
        assert tables.negative[at, horizon - 1, move // 5] == pytest.approx(100 * share)
        closed = np.sqrt(share * (1 - share) / tables.uncertainty.negative[at, horizon - 1, move // 25])
        assert closed == pytest.approx(expected, rel=0.12), (bucket, horizon, move)


def test_intervals_of_independent_outcomes_cover_the_true_value_95_percent_of_the_time() -> None:
    """From weekly counts of independent outcomes through tables and uncertainty to intervals."""
    rng, truth = np.random.default_rng(12), norm.sf(0.5)
    shares = np.full(BINS, 0.0)
    shares[-1], shares[0] = truth, 1 - truth
    held = []
    for _ in range(12):
        weeks = {}
        for week in range(3_000, 3_020):
            counts = np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64)
            ups = rng.binomial(120, truth, (HORIZON_MINUTES, GROUPS))
            counts[..., -1], counts[..., 0] = ups, 120 - ups
            weeks[week] = counts
        tables = fit_tables(weeks, 3_019).tables
        assert tables.uncertainty is not None
        low, high = wilson_interval_pct(tables.positive[0, :, 0], tables.uncertainty.positive[0, :, 0])
        held.extend(((low <= 100 * truth) & (100 * truth <= high)).tolist())
    assert np.mean(held) == pytest.approx(0.945, abs=0.03)


@given(st.integers(1, 5_000), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_intervals_equal_wilsons_for_all_counts(n: int, part: float) -> None:
    hits = round(part * n)
    low, high = wilson_interval_pct(np.array([100.0 * hits / n]), np.array([float(n)]))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert low[0] == pytest.approx(100 * expected.low, abs=1e-9)
    assert high[0] == pytest.approx(100 * expected.high, abs=1e-9)


@given(st.floats(0, 100), st.floats(1e-3, 1e9))
@settings(max_examples=200, deadline=None)
def test_intervals_have_positive_width_and_contain_the_probability(percent: float, independent: float) -> None:
    low, high = wilson_interval_pct(np.array([percent]), np.array([independent]))
    assert 0.0 <= low[0] < high[0] <= 100.0
    assert low[0] - 1e-9 <= percent <= high[0] + 1e-9


def test_an_unknown_probability_has_no_interval() -> None:
    for percent, independent in ((np.nan, 10.0), (50.0, np.nan)):
        assert np.isnan(wilson_interval_pct(np.array([percent]), np.array([independent]))).all()


def test_a_cell_with_rows_in_one_week_only_has_no_variance() -> None:
    """The remaining variance is a rounding error, which must not count as certainty."""
    sums, total = BlockSums(), 0.0
    for week in range(9):
        rows = 97.0 if week == 4 else 0.0
        sums.add(np.array([31.0 if rows else 0.0]), np.array([rows]), 0.7)
        total += 0.7 * rows
    assert np.isnan(sums.variance(np.array([31 / 97]), np.array([total]))).all()
    sums.add(np.array([1.0]), np.array([3.0]), 0.7)
    assert sums.variance(np.array([32 / 100]), np.array([70.0]))[0] > 0


@pytest.mark.parametrize("source", SOURCES)
def test_a_bucket_with_rows_in_one_week_only_has_no_uncertainty(source: str) -> None:
    # Low volatility, so that the outer buckets are rare as in real weeks.
    calm = 1.5e-4
    young = closes_from_usd(*price_series(source, "ETH", 1_300_000 + 2 * WEEK, 2 * WEEK, sigma_per_minute=calm))
    momentum = compute_momentum(young, ModelConfig())
    tables = compute_fingerprints(young, momentum, ModelConfig())
    assert tables.uncertainty is not None
    maintenance_lock = 0
    for bucket in ModelConfig().buckets:
        rows = np.flatnonzero(momentum.buckets[:-60] == bucket)
        if len(rows) and len(np.unique(young.minutes[rows] // WEEK)) == 1:
            assert np.isnan(tables.uncertainty.positive[tables.index(bucket)]).all()
            maintenance_lock += 1
    assert maintenance_lock > 0, "the slice has such a bucket"


def test_independent_outcomes_are_p_1_p_over_the_variance_limited_to_the_rows() -> None:
    share, variance = np.array([0.5, 0.5]), np.array([0.25 / 40, 1e-12])
    assert independent_outcomes(share, variance, np.array(100.0)).tolist() == pytest.approx([40.0, 100.0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 10, 20]))
@settings(max_examples=30, deadline=None)
def test_tails_at_every_nth_threshold_equal_the_full_tails(seed: int, every: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 50, (3, 2 * 20 + 3))
    for fine, coarse in zip(tails(counts, 20), tails(counts, 20, every), strict=True):
        np.testing.assert_array_equal(fine[:, ::every], coarse)
    up, down = tails(counts, 20)
    np.testing.assert_array_equal(up[:, 0] + down[:, 0], counts.sum(axis=1) + counts[:, 21])
    np.testing.assert_array_equal(up[:, 20], counts[:, -1])
    np.testing.assert_array_equal(down[:, 20], counts[:, 0])


def test_a_small_group_has_the_standard_error_of_its_shrunk_table() -> None:
    """Ten rows a week in one group, two hundred in the others: its table is mostly the pooled one."""
    rng, weeks = np.random.default_rng(30), {}
    for week in range(4_000, 4_040):
        counts = np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64)
        of_week = rng.beta(3, 7)  # weeks differ in all groups alike
        rows = np.array([10] + [200] * (GROUPS - 1))
        ups = rng.binomial(rows, of_week, (HORIZON_MINUTES, GROUPS))
        counts[..., -1], counts[..., 0] = ups, rows - ups
        weeks[week] = counts
    tables = fit_tables(weeks, 4_039).tables
    assert tables.uncertainty is not None
    trust = float(shrinkage_weight(tables.n_eff[1, :1])[0])
    assert 0.1 < trust < 0.4
    weights = np.array([decay_weight(4_039 - week) for week in sorted(weeks)])
    drawn = rng.multinomial(40, np.full(40, 1 / 40), 20_000) * weights
    rows = np.stack([weeks[week][7].sum(axis=1) for week in sorted(weeks)])
    ups = np.stack([weeks[week][7][:, -1] for week in sorted(weeks)])
    own = (drawn @ ups[:, 0]) / (drawn @ rows[:, 0])
    common = (drawn @ ups.sum(axis=1)) / (drawn @ rows.sum(axis=1))
    expected = (trust * own + (1 - trust) * common).std()
    share = tables.positive[1, 7, 0] / 100
    closed = np.sqrt(share * (1 - share) / tables.uncertainty.positive[1, 7, 0])
    assert closed == pytest.approx(expected, rel=0.06)
