"""The lookup: size, nodes, and interpolation between them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models import probability
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints
from pipelines.domain.models.interpolation import clip_before_close, interpolate_beyond, scaled_move_bps
from pipelines.domain.models.ladder import LadderQuery
from pipelines.domain.models.lookup import (
    MISSING,
    LookupAxes,
    LookupBlock,
    LookupRow,
    build_lookup_block,
    to_hundredths,
)
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import Floats, closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars

CONFIGS = {profile: ModelConfig(profile=profile) for profile in Profile}
TTCS = np.arange(0.0, 3601.0, 5.0)
MOVES = np.arange(0.0, 201.0)


@pytest.fixture(scope="module")
def fingerprints() -> dict[Profile, FingerprintSet]:
    bars = generate_bars(SimulationParameters(100_000.0), 45, 29_400_000, 11)
    closes = closes_from_usd(bars.minutes, bars.close)
    return {p: compute_fingerprints(closes, compute_momentum(closes, config), config) for p, config in CONFIGS.items()}


def _axes(config: ModelConfig) -> LookupAxes:
    return MomentumRule(config).axes


def _rows(block: LookupBlock, config: ModelConfig) -> dict[int, LookupRow]:
    """The rows as read from storage: None instead of arrays without data."""
    return {
        ttc: LookupRow(
            ttc,
            block.within_positive[i] if block.has_data[i] else None,
            block.within_negative[i] if block.has_data[i] else None,
            float(block.n_eff[i]),
        )
        for i, ttc in enumerate(_axes(config).ttcs_seconds)
    }


def _read(
    block: LookupBlock, config: ModelConfig, ttc: float, moves: Floats, upward: bool = True
) -> probability.Reading:
    places = scaled_move_bps(ttc, moves, config.profile)
    return probability.from_lookup(_rows(block, config), _axes(config), ttc, places, np.full(len(moves), upward))


def test_a_full_lookup_has_data_in_all_8840181_cells(fingerprints: dict[Profile, FingerprintSet]) -> None:
    config = CONFIGS[Profile.SOUND]
    cells = 0
    for bucket in config.buckets:
        block = build_lookup_block(fingerprints[Profile.SOUND], bucket, _axes(config))
        assert block.bucket == bucket
        assert block.within_positive.shape == block.within_negative.shape == (721, 201)
        assert block.within_positive.dtype == block.within_negative.dtype == np.int16
        assert block.has_data.all()
        assert min(block.within_positive.min(), block.within_negative.min()) >= 0
        assert max(block.within_positive.max(), block.within_negative.max()) <= 10_000
        cells += block.within_positive.size
    assert cells == 8_840_181 == _axes(config).cells


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("bucket", [-30, 0, 17])
def test_nodes_equal_interpolation_within_half_a_hundredth(
    fingerprints: dict[Profile, FingerprintSet], profile: Profile, bucket: int
) -> None:
    config, made = CONFIGS[profile], fingerprints[profile]
    block = build_lookup_block(made, bucket, _axes(config))
    moves = np.broadcast_to(MOVES, (721, 201)).copy()
    if profile is Profile.SOUND:
        moves[1:12] *= np.sqrt(60.0 / TTCS[1:12, None])
    points = np.stack([np.broadcast_to(np.maximum(TTCS, 60.0)[:, None], (721, 201)), np.minimum(moves, 200.0)], axis=-1)
    for side, within in ((made.positive, block.within_positive), (made.negative, block.within_negative)):
        grid = np.arange(60.0, 3601.0, 60.0), np.array(made.nodes, dtype=np.float64)
        expected = 100.0 - RegularGridInterpolator(grid, side[made.index(bucket)])(points)
        if profile is Profile.SOUND:
            expected[0] = np.where(MOVES == 0.0, 0.0, 100.0)
        np.testing.assert_allclose(within / 100.0, expected, rtol=0, atol=0.005 + 1e-9)


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(("bucket", "upward"), [(-30, True), (3, False), (30, True)])
def test_reading_between_nodes_equals_interpolation_within_rounding(
    fingerprints: dict[Profile, FingerprintSet], profile: Profile, bucket: int, upward: bool
) -> None:
    config, made = CONFIGS[profile], fingerprints[profile]
    rows, axes = _rows(build_lookup_block(made, bucket, _axes(config)), config), _axes(config)
    table = (made.positive if upward else made.negative)[made.index(bucket)]
    rng = np.random.default_rng(9)
    ttcs = [*rng.uniform(0.0, 3700.0, 250), *rng.uniform(0.0, 60.0, 100), *rng.integers(0, 3601, 100), 0, 5, 60, 3600]
    for ttc in map(float, ttcs):
        moves = np.concatenate([rng.uniform(0.0, 250.0, 15), rng.uniform(0.0, 10.0, 5), [0.0, 200.0]])
        read = probability.from_lookup(
            rows, axes, ttc, scaled_move_bps(ttc, moves, profile), np.full(22, upward)
        ).beyond
        exact = clip_before_close(interpolate_beyond(table, made.nodes, ttc, moves, profile), ttc, profile)
        np.testing.assert_allclose(read, exact, rtol=0, atol=0.01)


def test_a_strike_above_reads_the_upward_side_and_one_below_the_downward_side(
    fingerprints: dict[Profile, FingerprintSet],
) -> None:
    config, made = CONFIGS[Profile.SOUND], fingerprints[Profile.SOUND]
    rows = _rows(build_lookup_block(made, -30, _axes(config)), config)
    moves, upward = np.array([10.0, 10.0]), np.array([True, False])
    read = probability.from_lookup(rows, _axes(config), 1800.0, moves, upward).beyond
    up, down = made.positive[made.index(-30), 29, 2], made.negative[made.index(-30), 29, 2]
    assert abs(up - down) > 0.1
    assert read.tolist() == pytest.approx([up, down], abs=0.005 + 1e-9)


def test_a_bucket_without_a_fingerprint_is_missing_and_reads_as_nan(
    fingerprints: dict[Profile, FingerprintSet],
) -> None:
    made, config = fingerprints[Profile.SOUND], CONFIGS[Profile.SOUND]
    without = replace(made, buckets=(None, *[99 if bucket == 7 else bucket for bucket in made.buckets[1:]]))
    block = build_lookup_block(without, 7, _axes(config))
    assert block.within_positive.shape == block.within_negative.shape == (721, 201)
    assert {*np.unique(block.within_positive), *np.unique(block.within_negative)} == {MISSING}
    assert not block.has_data.any()
    assert not block.n_eff.any()
    for ttc in (0.0, 30.0, 61.0, 3600.0):
        assert np.isnan(_read(block, config, ttc, np.array([0.0, 50.0, 300.0])).beyond).all()


def test_rows_without_data_are_missing_entirely_and_others_are_kept(
    fingerprints: dict[Profile, FingerprintSet],
) -> None:
    made, config = fingerprints[Profile.SOUND], CONFIGS[Profile.SOUND]
    positive, negative, n_eff = made.positive.copy(), made.negative.copy(), made.n_eff.copy()
    positive[:, 30:], negative[:, 30:], n_eff[:, 30:] = np.nan, np.nan, 0.0
    block = build_lookup_block(replace(made, positive=positive, negative=negative, n_eff=n_eff), 0, _axes(config))
    assert block.has_data.tolist() == (TTCS <= 1800.0).tolist()
    for side in (block.within_positive, block.within_negative):
        assert ((side == MISSING).all(axis=1) == (TTCS > 1800.0)).all()
        assert not (side == MISSING)[TTCS <= 1800.0].any()
    assert (block.n_eff[TTCS > 1800.0] == 0.0).all()
    moves = np.array([1.5, 40.0])
    assert not np.isnan(_read(block, config, 1800.0, moves).beyond).any()
    for ttc in (1800.5, 1803.0, 1805.0, 3600.0):
        assert np.isnan(_read(block, config, ttc, moves).beyond).all()


@pytest.mark.parametrize(
    ("profile", "ttc", "move", "clamped"),
    [
        (Profile.SOUND, 1800.0, 200.0, False),
        (Profile.SOUND, 1800.0, 200.001, True),
        (Profile.SOUND, 3600.0, 50.0, False),
        (Profile.SOUND, 3600.5, 50.0, True),
        (Profile.SOUND, 15.0, 100.0, False),
        (Profile.SOUND, 15.0, 101.0, True),
        (Profile.SOUND, 0.0, 500.0, False),
        (Profile.SOURCE, 15.0, 101.0, False),
        (Profile.SOURCE, 15.0, 201.0, True),
        (Profile.SOURCE, 3601.0, 1.0, True),
    ],
)
def test_an_answer_outside_the_table_is_marked_as_clamped(
    fingerprints: dict[Profile, FingerprintSet], profile: Profile, ttc: float, move: float, clamped: bool
) -> None:
    config, made = CONFIGS[profile], fingerprints[profile]
    reading = _read(build_lookup_block(made, 0, _axes(config)), config, ttc, np.array([0.0, move]))
    assert reading.clamped.tolist() == [clamped and ttc > 3600.0, clamped]


def test_a_clamped_answer_is_the_nearest_in_the_table(fingerprints: dict[Profile, FingerprintSet]) -> None:
    config, made = CONFIGS[Profile.SOUND], fingerprints[Profile.SOUND]
    block, table = build_lookup_block(made, 0, _axes(config)), made.positive[made.index(0)]
    for ttc, move, nearest in ((1800.0, 900.0, table[29, 40]), (9e9, 50.0, table[59, 10]), (15.0, 101.0, table[0, 40])):
        read = _read(block, config, ttc, np.array([move]))
        assert read.beyond.tolist() == pytest.approx([max(nearest, 0.01)], abs=0.005 + 1e-9)
        assert read.clamped.all()


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("ttc", [0.0, 12.0, 59.9, 60.0, 1234.5, 3600.0, 3700.0])
def test_a_ladder_from_a_fingerprint_equals_the_ladder_from_its_lookup(
    fingerprints: dict[Profile, FingerprintSet], profile: Profile, ttc: float
) -> None:
    config, made = CONFIGS[profile], fingerprints[profile]
    at, strikes = slice(made.index(-30), made.index(-30) + 1), np.arange(92_500.0, 97_501.0, 250.0)
    rows, axes = _rows(build_lookup_block(made, -30, _axes(config)), config), _axes(config)
    query = LadderQuery(MomentumRule(config), axes, MarketStates.single(0.0, None), 95_123.45, strikes, ttc)
    stored = query.answer_from_lookup(rows)
    table = FingerprintSet((None,), made.nodes, made.positive[at], made.negative[at], made.n[at], np.full((1, 60), 5.0))
    direct = query.answer_from_baseline(table)
    same = "strike", "buffer", "move_percent", "direction"
    assert [[row[key] for key in same] for row in direct.rows()] == [
        [row[key] for key in same] for row in stored.rows()
    ]
    np.testing.assert_allclose(direct.reading.beyond, stored.reading.beyond, rtol=0, atol=0.01)
    np.testing.assert_array_equal(direct.reading.clamped, stored.reading.clamped)
    assert direct.reading.n_eff == 5.0


@pytest.mark.parametrize(
    ("ttc", "nodes"),
    [
        (0, (60, 60)),
        (59.9, (60, 60)),
        (60, (60, 60)),
        (61, (60, 65)),
        (65, (65, 65)),
        (3597.5, (3595, 3600)),
        (3600, (3600, 3600)),
        (4000, (3600, 3600)),
    ],
)
def test_a_ladder_needs_at_most_two_rows(ttc: float, nodes: tuple[int, int]) -> None:
    assert _axes(CONFIGS[Profile.SOUND]).nodes_around(ttc) == nodes


def test_a_reading_has_the_smaller_n_eff_of_its_rows() -> None:
    flat = np.full(201, 4_000, dtype=np.int16)
    rows = {60: LookupRow(60, flat, flat, 900.0), 65: LookupRow(65, flat, flat, 40.0)}
    for ttc, n_eff in ((60.0, 900.0), (61.0, 40.0), (65.0, 40.0)):
        read = probability.from_lookup(rows, _axes(CONFIGS[Profile.SOUND]), ttc, np.array([3.0]), np.array([True]))
        assert (read.n_eff, read.beyond.tolist()) == (n_eff, [60.0])


@pytest.mark.parametrize("profile", Profile)
def test_a_node_has_the_smaller_n_eff_of_its_horizons(
    fingerprints: dict[Profile, FingerprintSet], profile: Profile
) -> None:
    made, config = fingerprints[profile], CONFIGS[profile]
    n_eff = np.random.default_rng(1).permutation(np.arange(1.0, 61.0))
    n_eff[58:] = 1.0, 50.0
    block = build_lookup_block(replace(made, n_eff=np.tile(n_eff, (62, 1))), 0, _axes(config))
    for ttc, carried in zip(TTCS.astype(int).tolist(), block.n_eff.tolist(), strict=True):
        used = {max(ttc // 60, 1), max(-(-ttc // 60), 1)}
        assert carried == min(n_eff[minute - 1] for minute in used), ttc


def test_hundredths_round_half_to_even_and_mark_nan_as_missing() -> None:
    within = np.array([0.0, 100.0, 12.345, 0.125, 0.375, 99.994, 99.996, np.nan])
    hundredths = to_hundredths(within)
    assert hundredths.dtype == np.int16
    assert hundredths[[0, 1, 3, 4, 5, 6, 7]].tolist() == [0, 10_000, 12, 38, 9_999, 10_000, MISSING]
    assert hundredths[2] in {1_234, 1_235}
