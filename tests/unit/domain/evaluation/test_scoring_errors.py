"""Inputs that scoring rejects."""

from dataclasses import replace

import numpy as np
import pytest
from score_cases import GRID, random_cases, tally_of

from pipelines.domain.evaluation.scoring import (
    ScoreGrid,
    Tally,
    brier_decomposition,
    brier_difference,
    merge,
    pooled,
    reliability,
    skill,
    skill_interval,
    slices,
    two_sided_slices,
)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda p: p[..., :3], r"probabilities has shape \(60, 2, 3\), expected \(60, 2, 4\)"),
        (0, lambda p: p[0, 0, 0], r"probabilities has shape \(\), expected \(0, 2, 4\)"),
        (1, lambda y: y[:, :1], r"outcomes has shape \(60, 1, 4\), expected \(60, 2, 4\)"),
        (1, lambda y: y[:9] + 0.0, r"outcomes has shape .*; outcomes and known are float64 and bool, expected bool"),
        (2, lambda known: known[:, 0], r"known has shape \(60,\), expected \(60, 2\)"),
        (2, lambda known: known.astype(int), "outcomes and known are bool and int64, expected bool"),
        (0, lambda p: p * 100, r"probabilities of known cases lie in .*, expected fractions 0\.\.1"),
        (0, lambda p: p - 0.2, r"lie in -0\..*, expected fractions 0\.\.1"),
        (0, lambda p: np.full_like(p, np.nan), r"lie in nan\.\.nan, expected fractions 0\.\.1"),
        (3, lambda labels: labels | {"hour": labels["hour"] + 1}, r"labels\['hour'\] are 1\.\.24, expected 0\.\.23"),
        (3, lambda labels: labels | {"hour": labels["hour"] - 1}, r"labels\['hour'\] are -1\.\.22, expected 0\.\.23"),
        (3, lambda labels: labels | {"hour": labels["hour"][1:]}, r"labels\['hour'\] has shape \(59,\), expected \(60"),
        (3, lambda labels: labels | {"hour": labels["hour"] / 1}, r"labels\['hour'\] is float64, expected whole"),
        (3, lambda labels: {"week": labels["week"]}, r"labels are \['week'\], expected \['hour', 'volatility_band', "),
        (3, lambda labels: labels | {"year": labels["week"]}, r"labels are .*'year'\], expected"),
    ],
)
def test_an_invalid_chunk_is_rejected_and_leaves_the_tally_unchanged(place, change, message: str) -> None:
    p, outcomes, _, labels = random_cases(60, seed=1)
    chunk = [np.nan_to_num(p), outcomes, np.ones((60, 2), bool), labels | {"hour": np.arange(60) % 24}]
    chunk[place] = change(chunk[place])
    tally = Tally(GRID)
    with pytest.raises(ValueError, match=message):
        tally.add(*chunk)
    assert not tally.totals.any()
    assert not tally.bins.any()


@pytest.mark.parametrize(
    ("ttcs", "moves", "levels", "message"),
    [
        ((), (10,), {"week": 2}, "ttcs_minutes must be distinct and 1 or more"),
        ((5, 5), (), {"week": 2}, "ttcs_minutes must be distinct.*; moves_bps must be distinct and not 0"),
        ((0,), (10, 10), {"week": 2}, "ttcs_minutes must be distinct.*; moves_bps must be distinct and not 0"),
        ((5,), (10, 0), {"week": 2}, "moves_bps must be distinct and not 0"),
        ((5,), (10,), {"hour": 24}, "must contain 'week'"),
        ((5,), (10,), {"week": 2, "move_bps": 3}, "must not contain"),
        ((5,), (10,), {"week": 2, "hour": 0}, "levels must be 1 or more"),
    ],
)
def test_invalid_grids_are_rejected(ttcs, moves, levels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreGrid(ttcs, moves, levels)


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
        compared = [(skill, tally), (brier_difference, tally), (skill_interval, tally)]
        for score, *arguments in scores + compared:
            with pytest.raises(ValueError, match="no cases in the tally"):
                score(tally, *arguments)


@pytest.mark.parametrize("compare", [brier_difference, skill_interval, skill, lambda one, other: merge([one, other])])
def test_tallies_of_different_grids_are_rejected(compare) -> None:
    other = replace(GRID, levels={**GRID.levels, "hour": 25})
    with pytest.raises(ValueError, match=r"tallies of different grids: ScoreGrid.*25.*, expected ScoreGrid.*24"):
        compare(tally_of(random_cases(60)), tally_of(random_cases(60), other))


@pytest.mark.parametrize("compare", [brier_difference, skill_interval, skill])
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
    assert skill(tally, tally) == 0.0


def test_names_unknown_to_the_grid_are_rejected() -> None:
    tally = tally_of(random_cases(60))
    with pytest.raises(ValueError, match="no row dimension 'day', expected one of"):
        slices(tally, "day")
    with pytest.raises(ValueError, match="no row dimension 'ttc_minutes'"):
        two_sided_slices(tally, "ttc_minutes", 60, 50)
    with pytest.raises(ValueError, match="no cell of 30 minutes"):
        two_sided_slices(tally, "hour", 30, 50)
    with pytest.raises(ValueError, match="no volatility band 3; the grid has 3"):
        reliability(tally, 3)
    with pytest.raises(ValueError, match="no tallies to merge"):
        merge([])


@pytest.mark.parametrize("against", [skill, skill_interval])
def test_skill_against_a_reference_without_error_is_undefined(against) -> None:
    p, outcomes, known, labels = random_cases(60)
    with pytest.raises(ValueError, match="the reference's Brier score is 0"):
        against(tally_of((p, outcomes, known, labels)), tally_of((outcomes.astype(float), outcomes, known, labels)))
