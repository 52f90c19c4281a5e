"""The pool lies between the mid and the model, and is served only while the scores show that it is better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.markets.pool import MIN_POOL_EVENTS, decision_by_scores, pool_decision, pooled_with

INNER = st.floats(0.001, 0.999)


@given(st.lists(st.tuples(INNER, INNER), min_size=1, max_size=20))
def test_a_pool_lies_between_its_parts_and_does_not_depend_on_their_order(pairs: list[tuple[float, float]]) -> None:
    mids, probabilities = np.array(pairs).T
    pooled = pooled_with(mids, probabilities)
    assert (pooled >= np.minimum(mids, probabilities) - 1e-12).all()
    assert (pooled <= np.maximum(mids, probabilities) + 1e-12).all()
    assert pooled == pytest.approx(pooled_with(probabilities, mids))
    assert 1 - pooled == pytest.approx(pooled_with(1 - mids, 1 - probabilities))


def test_a_pool_has_half_of_the_log_odds_of_each() -> None:
    assert pooled_with(np.array([0.5, 0.2, 0.9]), np.array([0.5, 0.8, 0.9])) == pytest.approx([0.5, 0.5, 0.9])
    assert pooled_with(np.array([0.5]), np.array([0.8]))[0] == pytest.approx(2 / 3)


def test_a_certain_part_makes_the_pool_certain_and_opposite_ones_leave_it_unknown() -> None:
    found = pooled_with(np.array([0.4, 0.4, 0.0, 0.4]), np.array([0.0, 1.0, 1.0, np.nan]))
    assert found[:2].tolist() == [0.0, 1.0]
    assert np.isnan(found[2:]).all()


@pytest.mark.parametrize(
    ("events", "interval", "served", "reason"),
    [
        (0, None, False, "0 settled events, 200 are needed"),
        (1, None, False, "1 settled event, 200 are needed"),
        (120, (-0.003, -0.001), False, "120 settled events, 200 are needed"),
        (MIN_POOL_EVENTS, (-0.001, 0.0004), False, "interval [-0.0010, +0.0004] includes zero"),
        (MIN_POOL_EVENTS, (-0.001, 0.0), False, "interval [-0.0010, +0.0000] includes zero"),
        (MIN_POOL_EVENTS, (0.001, 0.004), False, "the mid is better: interval [+0.0010, +0.0040] is above zero"),
        (MIN_POOL_EVENTS, None, False, "the difference to the mid has no interval"),
        (
            304,
            (-0.0018, -0.0007),
            True,
            "difference to the mid -0.0013 [-0.0018, -0.0007], 304 settled events",
        ),
    ],
)
def test_the_pool_is_served_only_with_enough_events_and_an_interval_below_zero(
    events: int, interval: tuple[float, float] | None, served: bool, reason: str
) -> None:
    found = pool_decision(events, -0.0013, interval)
    assert (found.served, found.reason) == (served, reason)
    assert found.name == ("pool" if served else "mid")


def test_scores_of_a_model_that_no_longer_answers_do_not_serve_the_pool() -> None:
    scores = (304, -0.0013, (-0.0018, -0.0007))
    assert decision_by_scores(*scores, model="standardised", champion="standardised").served
    assert decision_by_scores(*scores, model="standardised", champion=None).served
    found = decision_by_scores(*scores, model="standardised", champion="momentum")
    assert found.reason == "the scores are of standardised, and momentum answers now"
    assert not found.served


def test_nothing_is_served_on_scores_that_are_not_numbers() -> None:
    assert not pool_decision(300, float("nan"), (float("nan"), float("nan"))).served
    assert not pool_decision(300, -0.001, (-0.002, float("nan"))).served
