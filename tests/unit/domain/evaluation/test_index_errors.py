"""The settlement rule predicts the errors of a random walk, and of a recorded index."""

import numpy as np
import pytest
from recorded_markets import index_seconds

from pipelines.domain.evaluation.index_errors import spread_ratios


def test_a_random_walk_has_the_predicted_errors() -> None:
    values = 100_000 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-5, 60_000)))
    with_rule, without = spread_ratios(values, np.arange(60, len(values)))
    assert with_rule == pytest.approx(1.0, abs=0.05)
    assert without[58] == pytest.approx(0.58, abs=0.03)


@pytest.mark.real_data
def test_a_recorded_index_has_the_predicted_errors() -> None:
    values = index_seconds()
    with_rule, without = spread_ratios(values, np.arange(60, len(values)))
    assert ((with_rule[9:] > 0.9) & (with_rule[9:] < 1.1)).all()
    assert (without[9:] < 0.7).all()
