"""Means with intervals by blocks: paired, reproducible, and the same for many columns as for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.domain.evaluation.block_bootstrap import DRAWS, block_intervals, brier_difference

CASES = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        arrays.arrays(np.float64, (n, 3), elements=st.floats(-1, 1)),
        arrays.arrays(np.int64, n, elements=st.integers(0, 6)).filter(lambda blocks: len(set(blocks.tolist())) > 1),
    )
)


@settings(deadline=None, max_examples=25)
@given(CASES)
def test_an_interval_is_that_of_draws_of_whole_blocks(cases: tuple[np.ndarray, np.ndarray]) -> None:
    values, blocks = cases
    _, block = np.unique(blocks, return_inverse=True)
    n, count = np.bincount(block), len(np.unique(blocks))
    draws = np.random.default_rng(1).integers(count, size=(DRAWS, count))
    for column, found in zip(values.T, block_intervals(values, blocks), strict=True):
        sums = np.bincount(block, weights=column)
        means = sums[draws].sum(axis=1) / n[draws].sum(axis=1)
        assert found.estimate == pytest.approx(column.mean(), abs=1e-12)
        assert (found.low, found.high) == pytest.approx(np.quantile(means, (0.025, 0.975)).tolist(), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(CASES)
def test_blocks_are_named_by_any_numbers(cases: tuple[np.ndarray, np.ndarray]) -> None:
    values, blocks = cases
    assert block_intervals(values, blocks) == block_intervals(values, 1000 + 7 * blocks)


def test_differences_are_paired() -> None:
    """Two forecasters whose scores vary from event to event, while their difference does not."""
    events = np.repeat(np.arange(20), 5)
    outcomes = np.tile([True, False, True, True, False], 20)
    reference = 0.5 + 0.02 * np.arange(100) % 0.4
    better = np.sqrt((reference - outcomes) ** 2 - 0.01)
    better = np.where(outcomes, 1 - better, better)
    found = brier_difference(better, reference, outcomes, events)
    assert (found.estimate, found.low, found.high) == pytest.approx((-0.01, -0.01, -0.01))


def test_one_block_has_no_interval() -> None:
    with pytest.raises(ValueError, match="cases of 1 block, expected 2 or more"):
        block_intervals(np.zeros((5, 2)), np.full(5, 3))


@settings(deadline=None, max_examples=25)
@given(CASES)
def test_weights_count_a_case_as_often_as_they_say(cases: tuple[np.ndarray, np.ndarray]) -> None:
    values, blocks = cases
    weights = 1 + blocks % 3 + np.arange(len(blocks)) % 2
    expected = block_intervals(np.repeat(values, weights, axis=0), np.repeat(blocks, weights))
    for one, other in zip(block_intervals(values, blocks, weights.astype(np.float64)), expected, strict=True):
        assert (one.estimate, one.low, one.high) == pytest.approx((other.estimate, other.low, other.high), abs=1e-9)
