"""Inputs that scoring rejects."""

from dataclasses import replace

import numpy as np
import pytest
from score_cases import GRID, random_cases, tally_of

from pipelines.domain.evaluation.scoring import (
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


@pytest.mark.parametrize("change", [lambda p: p * 100, lambda p: p - 0.2, lambda p: np.full_like(p, np.nan)])
def test_probabilities_outside_0_to_1_are_rejected_and_leave_the_tally_unchanged(change) -> None:
    p, outcomes, _, labels = random_cases(60, seed=1)
    tally = Tally(GRID)
    with pytest.raises(ValueError, match=r"probabilities of known cases lie in .*, expected fractions 0\.\.1"):
        tally.add(change(np.nan_to_num(p)), outcomes, np.ones((60, 2), bool), labels)
    assert not tally.totals.any()
    assert not tally.bins.any()


def test_a_tally_without_cases_has_no_scores() -> None:
    p, outcomes, known, labels = random_cases(10)
    for tally in (Tally(GRID), tally_of((p, outcomes, np.zeros_like(known), labels)), tally_of(random_cases(0))):
        scores = [
            (pooled,),
            (brier_decomposition,),
            (reliability,),
            (slices, "hour"),
            (two_sided_slices, "hour", 60, 50),
        ]
        compared = [(brier_difference, tally), (skill_interval, tally)]
        for score, *arguments in scores + compared:
            with pytest.raises(ValueError, match="no cases in the tally"):
                score(tally, *arguments)


@pytest.mark.parametrize("compare", [brier_difference, skill_interval, lambda one, other: merge([one, other])])
def test_tallies_of_different_grids_are_rejected(compare) -> None:
    other = replace(GRID, levels={**GRID.levels, "hour": 25})
    with pytest.raises(ValueError, match=r"tallies of different grids: ScoreGrid.*25.*, expected ScoreGrid.*24"):
        compare(tally_of(random_cases(60)), tally_of(random_cases(60), other))


@pytest.mark.parametrize("compare", [brier_difference, skill_interval])
def test_tallies_of_different_cases_are_rejected(compare) -> None:
    p, outcomes, known, labels = random_cases(60)
    with pytest.raises(ValueError, match=rf"different cases \(\[{4 * known.sum()}, 480\]\)"):
        compare(tally_of((p, outcomes, known, labels)), tally_of((np.nan_to_num(p), outcomes, known | True, labels)))
    with pytest.raises(ValueError, match="different cases"):
        compare(tally_of((p, outcomes, known, labels)), tally_of((p, ~outcomes, known, labels)))


@pytest.mark.parametrize("interval", [brier_difference, skill_interval])
def test_an_interval_requires_two_weeks(interval) -> None:
    p, outcomes, known, labels = random_cases(60)
    tally = tally_of((p, outcomes, known, labels | {"week": np.full(60, 7)}))
    with pytest.raises(ValueError, match="cases of 1 week, expected 2 or more"):
        interval(tally, tally)


def test_skill_against_a_reference_without_error_is_undefined() -> None:
    p, outcomes, known, labels = random_cases(60)
    with pytest.raises(ValueError, match="the reference's Brier score is 0"):
        skill_interval(
            tally_of((p, outcomes, known, labels)), tally_of((outcomes.astype(float), outcomes, known, labels))
        )
