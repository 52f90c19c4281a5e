"""Scores of probability forecasts, compared with scikit-learn and definitions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_cases import BANDS, GRID, ROW_DIMENSIONS, Cases, random_cases, tally_of
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from pipelines.domain.evaluation.scoring import (
    BLOCK_ROWS,
    LOG_LOSS_CLIP,
    Interval,
    ScoreGrid,
    Slice,
    Tally,
    brier_decomposition,
    brier_difference,
    merge,
    pooled,
    reliability,
    skill_interval,
    slices,
    two_sided_slices,
)


def _known(cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    p, outcomes, known, _ = cases
    return p[known].ravel(), outcomes[known].ravel()


def _assert_scores(found: Slice, p: np.ndarray, outcomes: np.ndarray) -> None:
    """Compare each score of a slice with scikit-learn or its definition."""
    clipped = np.clip(p, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    assert found.n == len(p)
    assert found.mean_probability == pytest.approx(p.mean())
    assert found.observed_frequency == pytest.approx(outcomes.mean())
    assert found.brier == pytest.approx(brier_score_loss(outcomes, p))
    assert found.log_loss == pytest.approx(log_loss(outcomes, clipped, labels=[False, True]), rel=1e-9)
    assert found.calibration == pytest.approx(p.mean() - outcomes.mean(), abs=1e-12)
    assert found.sharpness == pytest.approx(p.var(), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 80))
def test_pooled_scores_equal_those_of_scikit_learn(seed: int, rows: int) -> None:
    cases = random_cases(rows, seed)
    _assert_scores(pooled(tally_of(cases)), *_known(cases))


def test_certain_forecasts_have_a_finite_log_loss() -> None:
    grid = ScoreGrid((1,), (10,), {"week": 1})
    p, outcomes = np.array([0.0, 1.0, 0.0, 1.0]), np.array([False, True, True, False])
    tally = tally_of(
        (p[:, None, None], outcomes[:, None, None], np.ones((4, 1), bool), {"week": np.zeros(4, int)}), grid
    )
    assert pooled(tally).log_loss == pytest.approx(-(np.log(1e-6) + np.log(1 - 1e-6)) / 2, rel=1e-9)
    assert [(b.n, b.mean_probability, b.observed_frequency) for b in reliability(tally)] == [
        (2, 0.0, 0.5),
        (2, 1.0, 0.5),
    ]


def test_reliability_bins_equal_those_of_scikit_learn() -> None:
    cases = random_cases(2 * BLOCK_ROWS)
    found = reliability(tally_of(cases))
    p, outcomes = _known(cases)
    share, mean_p = calibration_curve(outcomes, p, n_bins=20)
    np.testing.assert_allclose([b.mean_probability for b in found], mean_p)
    np.testing.assert_allclose([b.observed_frequency for b in found], share)
    assert [b.n for b in found] == np.bincount((p * 20).astype(int)).tolist()
    assert len(found) == 10  # of 20: the forecasts stop at 0.5


@pytest.mark.parametrize("band", range(BANDS))
def test_reliability_of_a_volatility_band_counts_only_its_rows(band: int) -> None:
    p, outcomes, known, labels = random_cases(500)
    rows = labels["volatility_band"] == band
    of_band = (p[rows], outcomes[rows], known[rows], {name: values[rows] for name, values in labels.items()})
    assert reliability(tally_of((p, outcomes, known, labels)), band) == [
        replace(b, mean_probability=pytest.approx(b.mean_probability)) for b in reliability(tally_of(of_band))
    ]


@pytest.mark.parametrize("cuts", [[1, 2, 100], [BLOCK_ROWS], [0, 650], [700]])
def test_adding_in_chunks_equals_adding_at_once_and_merging(cuts: list[int]) -> None:
    p, outcomes, known, labels = random_cases(700)
    chunked, parts = Tally(GRID), []
    for rows in np.split(np.arange(700), cuts):
        part = (p[rows], outcomes[rows], known[rows], {name: values[rows] for name, values in labels.items()})
        chunked.add(*part)
        parts.append(tally_of(part))
    at_once = tally_of((p, outcomes, known, labels))
    for tally in (chunked, merge(parts)):
        np.testing.assert_allclose(tally.totals, at_once.totals, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(tally.bins, at_once.bins, rtol=1e-12, atol=1e-12)


def test_grids_with_dimensions_in_another_order_merge_correctly() -> None:
    turned = replace(GRID, levels=dict(reversed(GRID.levels.items())))
    tally = tally_of(random_cases(200))
    merged, twice = merge([tally, tally_of(random_cases(200), turned)]), merge([tally, tally])
    np.testing.assert_array_equal(twice.totals, 2 * tally.totals)
    for dimension in ROW_DIMENSIONS:
        assert slices(merged, dimension) == slices(twice, dimension)


@pytest.mark.parametrize("integer", ["int8", "uint8", "uint64"])
def test_narrow_number_types_are_summed_at_full_width(integer: str) -> None:
    grid = replace(GRID, levels={"week": 120, "volatility_band": 100, "hour": 24})
    p, outcomes, known, labels = random_cases(100, grid=grid)
    p = p.astype(np.float32)
    narrow = {name: values.astype(integer) for name, values in labels.items()}
    full = tally_of((p.astype(np.float64), outcomes, known, labels), grid)
    np.testing.assert_array_equal(tally_of((p, outcomes, known, narrow), grid).totals, full.totals)


@pytest.mark.parametrize("dimension", [*ROW_DIMENSIONS, "ttc_minutes", "move_bps"])
def test_slices_add_up_to_the_pooled_scores(dimension: str) -> None:
    tally = tally_of(random_cases(400))
    whole, parts = pooled(tally), slices(tally, dimension)
    n = np.array([part.n for part in parts])
    assert n.sum() == whole.n
    for name in ("mean_probability", "observed_frequency", "brier", "log_loss", "calibration"):
        assert n @ [getattr(part, name) for part in parts] / whole.n == pytest.approx(getattr(whole, name))
    assert {part.dimension for part in parts} == {dimension}


@pytest.mark.parametrize("dimension", ROW_DIMENSIONS)
def test_a_slice_of_a_row_dimension_scores_the_rows_of_its_label(dimension: str) -> None:
    p, outcomes, known, labels = random_cases(400)
    known[labels[dimension] == 1] = False  # a level without cases is left out
    found = slices(tally_of((p, outcomes, known, labels)), dimension)
    assert [part.level for part in found] == [0, *range(2, GRID.levels[dimension])]
    for part in found:
        counted = known & (labels[dimension] == part.level)[:, None]
        _assert_scores(part, p[counted].ravel(), outcomes[counted].ravel())


def test_slices_of_the_cases_take_one_ttc_or_both_sides_of_one_move() -> None:
    p, outcomes, known, labels = random_cases(400)
    tally = tally_of((p, outcomes, known, labels))
    of_ttc, of_move = slices(tally, "ttc_minutes"), slices(tally, "move_bps")
    assert [part.level for part in of_ttc + of_move] == [1, 60, 10, 50]
    for i, part in enumerate(of_ttc):
        _assert_scores(part, p[known[:, i], i].ravel(), outcomes[known[:, i], i].ravel())
    for i, part in enumerate(of_move):
        _assert_scores(part, p[..., i::2][known].ravel(), outcomes[..., i::2][known].ravel())


@pytest.mark.parametrize("dimension", ROW_DIMENSIONS)
def test_two_sided_slices_score_a_move_to_either_side(dimension: str) -> None:
    p, outcomes, known, labels = random_cases(900)
    found = two_sided_slices(tally_of((p, outcomes, known, labels)), dimension, 60, 50)
    assert [part.level for part in found] == list(range(GRID.levels[dimension]))
    for part in found:
        rows = known[:, 1] & (labels[dimension] == part.level)
        either = outcomes[rows, 1, 1] | outcomes[rows, 1, 3]
        _assert_scores(part, p[rows, 1, 1] + p[rows, 1, 3], either)


def test_one_sided_moves_have_no_two_sided_slice() -> None:
    grid = ScoreGrid((1,), (-10, 20, 10, -30), {"week": 2})
    p, outcomes, known, labels = random_cases(20, grid=grid)
    tally = tally_of((np.full_like(p, 0.9), outcomes, known, labels), grid)
    assert grid.two_sided_bps == (10,)
    assert two_sided_slices(tally, "week", 1, 10)[0].mean_probability == pytest.approx(1.8)  # inconsistent sides
    with pytest.raises(ValueError, match=r"no cell of 1 minutes and \+-20 bps.*\(10,\)"):
        two_sided_slices(tally, "week", 1, 20)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_brier_score_is_the_sum_of_its_components(seed: int) -> None:
    tally = tally_of(random_cases(60, seed))
    found = brier_decomposition(tally)
    p, y = _known(random_cases(60, seed))
    index = np.minimum((p * 20).astype(int), 19)
    bin_p = np.array([p[index == i].mean() for i in index])
    bin_y = np.array([y[index == i].mean() for i in index])
    assert found.reliability == pytest.approx(((bin_p - bin_y) ** 2).mean())
    assert found.resolution == pytest.approx(((bin_y - y.mean()) ** 2).mean())
    assert found.uncertainty == pytest.approx(y.var())
    within = ((p - bin_p) ** 2).mean() - 2 * ((p - bin_p) * (y - bin_y)).mean()
    assert found.within_bin == pytest.approx(within, abs=1e-12)
    total = found.reliability - found.resolution + found.uncertainty + found.within_bin
    assert total == pytest.approx(pooled(tally).brier, abs=1e-15)


def test_calibration_is_near_zero_for_true_probabilities_and_not_for_biased_ones() -> None:
    p, _, known, labels = random_cases(3000)
    true = np.where(np.isnan(p), 0.5, p)
    outcomes = np.random.default_rng(5).random(p.shape) < true
    honest, biased = (tally_of((forecast, outcomes, known, labels)) for forecast in (true, true + 0.1))
    assert abs(pooled(honest).calibration) < 3 * 0.5 / np.sqrt(pooled(honest).n)  # 3 standard errors
    assert brier_decomposition(honest).reliability < 1e-3
    assert pooled(biased).calibration == pytest.approx(pooled(honest).calibration + 0.1)
    assert brier_decomposition(biased).reliability == pytest.approx(0.01, rel=0.2)


def _model_and_reference(rows: int = 600) -> tuple[Tally, Tally]:
    """True probabilities, and a constant 0.5."""
    p, _, known, labels = random_cases(rows)
    true = np.where(np.isnan(p), 0.5, p)
    outcomes = np.random.default_rng(3).random(p.shape) < true
    return tally_of((true, outcomes, known, labels)), tally_of((np.full(p.shape, 0.5), outcomes, known, labels))


def test_a_model_does_not_differ_from_itself() -> None:
    model, _ = _model_and_reference()
    assert brier_difference(model, model) == Interval(0.0, 0.0, 0.0)
    assert skill_interval(model, model) == Interval(0.0, 0.0, 0.0)


def test_a_clearly_better_model_is_better_beyond_its_interval() -> None:
    model, reference = _model_and_reference()
    difference, skilled = brier_difference(model, reference), skill_interval(model, reference)
    assert difference.low < difference.estimate < difference.high < 0
    assert 0 < skilled.low < skilled.estimate < skilled.high < 1
    assert difference.estimate == pytest.approx(pooled(model).brier - pooled(reference).brier)
    assert skilled.estimate == pytest.approx(1 - pooled(model).brier / pooled(reference).brier)
    turned = brier_difference(reference, model)
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))
    assert difference == brier_difference(model, reference, resamples=2000, seed=1)
    assert difference != brier_difference(model, reference, seed=2)


def test_the_interval_of_independent_weeks_is_that_of_a_mean() -> None:
    """With one case per week, the blocks are the cases and the interval is the mean +- 1.96 standard errors."""
    weeks = 400
    grid = ScoreGrid((1,), (10,), {"week": weeks})
    rng = np.random.default_rng(8)
    p, labels = rng.random((weeks, 1, 1)), {"week": np.arange(weeks)}
    outcomes = rng.random(p.shape) < p
    model, reference = (tally_of((q, outcomes, np.ones((weeks, 1), bool), labels), grid) for q in (p, p / 2))
    each = ((p - outcomes) ** 2 - (p / 2 - outcomes) ** 2).ravel()
    found = brier_difference(model, reference)
    assert found.estimate == pytest.approx(each.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * each.std() / np.sqrt(weeks), rel=0.1)


def test_dependence_within_weeks_widens_the_interval() -> None:
    weeks, rows_a_week = 50, 100
    grid = ScoreGrid((1,), (10,), {"week": weeks})
    rng = np.random.default_rng(4)
    week = np.repeat(np.arange(weeks), rows_a_week)
    outcomes = (rng.random(weeks) < 0.5)[week][:, None, None]  # one outcome per week
    known = np.ones((len(week), 1), bool)

    def width(labels: np.ndarray, outcomes: np.ndarray = outcomes) -> float:
        forecasts = [np.full(outcomes.shape, p) for p in (0.6, 0.5)]
        found = brier_difference(*(tally_of((p, outcomes, known, {"week": labels}), grid) for p in forecasts))
        return found.high - found.low

    assert 7 < width(week) / width(rng.permutation(week)) < 14  # in theory sqrt(100)
    # With identical cases, weeks of different sizes add no uncertainty.
    assert width(np.minimum(week, 3), outcomes | True) == pytest.approx(0.0, abs=1e-12)


def test_unknown_cases_are_ignored() -> None:
    p, outcomes, known, labels = random_cases(300)
    known[::3] = False
    expected = tally_of((p, outcomes, known, labels))
    invalid = {name: values.copy() for name, values in labels.items()}
    invalid["volatility_band"][::3] = -99
    p[~known], outcomes[~known] = 7.0, True
    found = tally_of((p, outcomes, known, invalid))
    np.testing.assert_allclose(found.totals, expected.totals, rtol=1e-12)
    np.testing.assert_allclose(found.bins, expected.bins, rtol=1e-12)
