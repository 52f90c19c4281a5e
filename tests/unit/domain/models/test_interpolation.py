"""Interpolation of a fingerprint, compared with scipy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.interpolation import interpolate_beyond, linear_weights, scaled_move_bps
from pipelines.domain.prices.bars import Floats

MOVES = {profile: ModelConfig(profile=profile).moves_bps for profile in Profile}


def _table(profile: Profile, seed: int = 1) -> Floats:
    """60 rows of percentages that never rise with the move and differ in every cell."""
    falls = np.random.default_rng(seed).exponential(1.0, (60, len(MOVES[profile])))
    table: Floats = 60.0 - 50.0 * falls.cumsum(axis=1) / falls.sum(axis=1, keepdims=True)
    return table


def _scipy(table: Floats, profile: Profile, ttc: Floats, moves: Floats) -> Floats:
    """Bilinear interpolation by scipy, with points clamped to the grid."""
    axes = (np.arange(60.0, 3601.0, 60.0), np.array(MOVES[profile], dtype=np.float64))
    points = np.stack([np.clip(ttc, 60.0, 3600.0), np.minimum(moves, 200.0)], axis=-1)
    read: Floats = RegularGridInterpolator(axes, table, method="linear")(points)
    return read


@pytest.mark.parametrize("profile", Profile)
def test_interpolation_equals_scipys_linear_grid_interpolation_from_60_seconds_on(profile: Profile) -> None:
    rng, table = np.random.default_rng(3), _table(profile)
    ttc, moves = rng.uniform(60.0, 3600.0, 5_000), rng.uniform(0.0, 200.0, 5_000)
    read = interpolate_beyond(table, MOVES[profile], ttc, moves, profile)
    np.testing.assert_allclose(read, _scipy(table, profile, ttc, moves), rtol=0, atol=1e-10)


@pytest.mark.parametrize("profile", Profile)
def test_interpolation_at_a_node_returns_the_tables_value(profile: Profile) -> None:
    table = _table(profile)
    read = interpolate_beyond(table, MOVES[profile], np.arange(60, 3601, 60)[:, None], MOVES[profile], profile)
    np.testing.assert_allclose(read, table, rtol=0, atol=1e-12)


def test_below_60_seconds_sound_scales_the_move_by_the_root_of_time() -> None:
    rng, table = np.random.default_rng(4), _table(Profile.SOUND)
    ttc, moves = rng.uniform(0.5, 60.0, 500), rng.uniform(0.0, 200.0, 500)
    read = interpolate_beyond(table, MOVES[Profile.SOUND], ttc, moves, Profile.SOUND)
    expected = _scipy(table, Profile.SOUND, np.full(500, 60.0), moves * np.sqrt(60.0 / ttc))
    np.testing.assert_allclose(read, expected, rtol=0, atol=1e-10)
    points = zip(ttc.tolist(), moves.tolist(), strict=True)
    one_by_one = [interpolate_beyond(table, MOVES[Profile.SOUND], *point, Profile.SOUND) for point in points]
    np.testing.assert_allclose(one_by_one, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("ttc", "factor"), [(15.0, 2.0), (60.0 / 16.0, 4.0), (0.6, 10.0), (60.0, 1.0), (900.0, 1.0)])
def test_a_quarter_of_the_time_doubles_the_move(ttc: float, factor: float) -> None:
    moves = np.array([0.0, 1.0, 7.5, 200.0])
    np.testing.assert_allclose(scaled_move_bps(ttc, moves, Profile.SOUND), moves * factor, rtol=1e-15)


def test_below_60_seconds_source_reads_the_60_second_row() -> None:
    table, moves = _table(Profile.SOURCE), np.array([0.0, 3.0, 50.0, 168.0, 200.0])
    at_60 = interpolate_beyond(table, MOVES[Profile.SOURCE], 60.0, moves, Profile.SOURCE)
    for ttc in (0.0, 0.1, 5.0, 59.9):
        read = interpolate_beyond(table, MOVES[Profile.SOURCE], ttc, moves, Profile.SOURCE)
        np.testing.assert_array_equal(read, at_60)


def test_source_reads_170_bps_halfway_between_its_neighbours() -> None:
    table = _table(Profile.SOURCE)
    low, high = (MOVES[Profile.SOURCE].index(bps) for bps in (165, 175))
    read = interpolate_beyond(table, MOVES[Profile.SOURCE], 600.0, 170.0, Profile.SOURCE)
    assert float(read) == pytest.approx((table[9, low] + table[9, high]) / 2)


def test_at_ttc_0_only_the_strike_at_the_price_has_probability_100() -> None:
    moves = np.array([0.0, 1e-9, 0.5, 200.0, 500.0])
    read = interpolate_beyond(_table(Profile.SOUND), MOVES[Profile.SOUND], 0.0, moves, Profile.SOUND)
    assert read.tolist() == [100.0, 0.0, 0.0, 0.0, 0.0]


def test_a_negative_ttc_is_treated_as_zero() -> None:
    moves = np.array([0.0, 0.5, 200.0])
    read = interpolate_beyond(_table(Profile.SOUND), MOVES[Profile.SOUND], -1.0, moves, Profile.SOUND)
    assert read.tolist() == [100.0, 0.0, 0.0]


def test_missing_data_stays_nan_at_ttc_0() -> None:
    empty = np.full((60, 41), np.nan)
    assert np.isnan(interpolate_beyond(empty, MOVES[Profile.SOUND], 0.0, [0.0, 9.0], Profile.SOUND)).all()


@pytest.mark.parametrize("profile", Profile)
def test_moves_and_ttcs_beyond_the_grid_are_clamped_to_it(profile: Profile) -> None:
    table = _table(profile)
    read = interpolate_beyond(
        table, MOVES[profile], [600.0, 600.0, 3600.0, 9e9, 9e9], [200.0, 1e6, 5.0, 5.0, 1e6], profile
    )
    nearest = [table[9, -1], table[9, -1], table[59, 1], table[59, 1], table[59, -1]]
    assert read.tolist() == pytest.approx(nearest, abs=1e-12)


def test_a_nan_node_affects_only_points_that_use_it() -> None:
    table = _table(Profile.SOUND)
    table[9:] = np.nan
    read = interpolate_beyond(table, MOVES[Profile.SOUND], [480.0, 540.0, 540.1, 600.0, 3600.0], 12.0, Profile.SOUND)
    assert np.isnan(read).tolist() == [False, False, True, True, True]
    table[:, 3] = np.nan  # 15 bps
    read = interpolate_beyond(table, MOVES[Profile.SOUND], 60.0, [10.0, 10.1, 15.0, 19.9, 20.0], Profile.SOUND)
    assert np.isnan(read).tolist() == [False, True, True, True, False]


def test_interpolation_is_continuous_at_60_seconds() -> None:
    table, moves = _table(Profile.SOUND), np.linspace(0.0, 200.0, 81)
    below, above = (
        interpolate_beyond(table, MOVES[Profile.SOUND], 60.0 + nudge, moves, Profile.SOUND) for nudge in (-1e-7, 1e-7)
    )
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-5)


def test_below_60_seconds_probability_falls_as_time_runs_out() -> None:
    moves = np.linspace(0.0, 200.0, 81)
    ttcs = (60.0, 45.0, 20.0, 5.0, 1.0, 0.01, 0.0)
    rows = [interpolate_beyond(_table(Profile.SOUND), MOVES[Profile.SOUND], t, moves, Profile.SOUND) for t in ttcs]
    assert all((later <= earlier + 1e-12)[1:].all() for earlier, later in pairwise(rows))


@settings(deadline=None)
@given(
    ttc=st.integers(0, 5_000_000_000).map(lambda microseconds: microseconds / 1e6),
    moves=st.lists(st.floats(0.0, 400.0), min_size=2, max_size=20),
    profile=st.sampled_from(Profile),
)
def test_a_larger_move_is_never_more_likely(ttc: float, moves: list[float], profile: Profile) -> None:
    read = interpolate_beyond(_table(profile), MOVES[profile], ttc, sorted(moves), profile)
    assert (np.diff(read) <= 1e-12).all()
    assert ((read >= 0.0) & (read <= 100.0)).all()


def test_ttcs_and_moves_broadcast() -> None:
    ttcs, moves = np.array([30.0, 61.0, 3599.0]), np.array([0.0, 2.5, 99.9, 300.0])
    table = _table(Profile.SOUND)
    grid = interpolate_beyond(table, MOVES[Profile.SOUND], ttcs[:, None], moves, Profile.SOUND)
    one_by_one = [
        [float(interpolate_beyond(table, MOVES[Profile.SOUND], ttc, move, Profile.SOUND)) for move in moves]
        for ttc in ttcs
    ]
    np.testing.assert_allclose(grid, one_by_one, rtol=0, atol=1e-12)


def test_weights_are_shares_of_the_two_nodes_around_a_point() -> None:
    weights = linear_weights([0, 10, 30], [-5.0, 0.0, 2.5, 10.0, 25.0, 30.0, 99.0])
    nodes = np.array([0, 10, 30])
    positions = nodes[weights.lower] * (1 - weights.share) + nodes[weights.upper] * weights.share
    assert positions.tolist() == [0.0, 0.0, 2.5, 10.0, 25.0, 30.0, 30.0]


def test_a_single_node_applies_to_every_point() -> None:
    table = np.array([[50.0, 20.0]])
    assert interpolate_beyond(table, (0, 5), [60.0, 3600.0], [2.5, 5.0], Profile.SOUND).tolist() == [35.0, 20.0]
