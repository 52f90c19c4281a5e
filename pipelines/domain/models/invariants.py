"""Invariants of a build, as pure checks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.lookup import MISSING, LookupBlock
from pipelines.domain.prices.bars import Closes, Ints
from pipelines.domain.prices.momentum import NO_BUCKET, Momentum

#: Imported tables are rounded to hundredths; a rise by one hundredth is rounding.
MONOTONE_TOLERANCE_PCT = 0.0101
#: Fields of results that are added up.
SUMS = ("failed", "total", "left_out")


@dataclass(frozen=True)
class CheckResult:
    """Result of one check: `failed` of `total` cells violate the invariant; `detail`: where, or what was expected.

    `tolerated_share`: of the cells, how many may fail. `left_out`: cells that cannot be judged, not in `total`.
    """

    name: str
    failed: int
    total: int
    detail: str = ""
    tolerated_share: float = 0.0
    left_out: int = 0

    @property
    def passed(self) -> bool:
        """Whether no more cells failed than are tolerated."""
        return self.failed <= self.tolerated_share * self.total


def check_tables(tables: FingerprintSet) -> list[CheckResult]:
    """Tables of any model: no cell missing, all within 0..100 and never rising with the distance."""
    sides = np.stack([tables.positive, tables.negative])
    outside = (sides < 0.0) | (sides > 100.0)
    rises = np.diff(sides, axis=-1) > MONOTONE_TOLERANCE_PCT
    return [
        CheckResult("cells_complete", int(np.isnan(sides).sum()), sides.size),
        CheckResult("percent_0_to_100", int(outside.sum()), sides.size),
        CheckResult("monotone_in_move", int(rises.sum()), rises.size),
    ]


def check_fingerprints(fingerprints: FingerprintSet, config: ModelConfig) -> list[CheckResult]:
    """As `check_tables`; cells are missing only where n is 0, and the set has the configured shape."""
    shape = fingerprints.positive.shape
    expected = (len(config.buckets) + 1, config.horizon_minutes, len(config.moves_bps))
    missing = np.isnan(fingerprints.positive).astype(np.int64) + np.isnan(fingerprints.negative)
    failed = int(shape != expected) + int(missing[fingerprints.n != 0].sum())
    complete, *others = check_tables(fingerprints)
    return [replace(complete, failed=failed, detail=f"shape {shape}, expected {expected}"), *others]


def merge_results(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """One result per check name, summed over all tables."""
    merged: dict[str, CheckResult] = {}
    for check in checks:
        sums = merged.get(check.name, CheckResult(check.name, 0, 0))
        detail = check.detail if check.failed or not sums.detail else sums.detail
        failed, total, left_out = (getattr(sums, sum_of) + getattr(check, sum_of) for sum_of in SUMS)
        merged[check.name] = CheckResult(check.name, failed, total, detail, check.tolerated_share, left_out)
    return list(merged.values())


def check_n_adds_up(fingerprints: FingerprintSet, momentum: Momentum, closes: Closes, later: Ints) -> CheckResult:
    """Each horizon's n equals `later`, and the buckets account for all rows but those without one.

    `later`: int64[h], bars that have a bar t minutes later.
    """
    buckets = fingerprints.n[1:].sum(axis=0)
    baseline = fingerprints.n[0]
    unbucketed = int((momentum.buckets == NO_BUCKET).sum())
    off = (baseline != later) | (buckets > baseline) | (baseline - buckets > unbucketed)
    detail = f"{len(closes)} bars, {unbucketed} without a bucket"
    return CheckResult("n_adds_up_to_the_bars", int(off.sum()), len(off), detail)


def bars_with_later_bar(closes: Closes, config: ModelConfig) -> Ints:
    """int64[h]: number of bars with a bar exactly t minutes later (`source`: t rows later)."""
    horizons = range(1, config.horizon_minutes + 1)
    if config.profile is Profile.SOURCE:
        return np.array([max(len(closes) - t, 0) for t in horizons], dtype=np.int64)
    grid, _ = closes.on_grid()
    present = ~np.isnan(grid)
    return np.array([int((present[:-t] & present[t:]).sum()) if t < len(grid) else 0 for t in horizons], dtype=np.int64)


def check_lookup_block(block: LookupBlock) -> tuple[int, int, int]:
    """(cells outside 0..10000, cells that fall with the move, partly MISSING rows) of one bucket."""
    outside = falls = partial = 0
    has_data = block.has_data
    for side in (block.within_positive, block.within_negative):
        missing = side == MISSING
        partial += int((missing.any(axis=1) & ~missing.all(axis=1)).sum() + (missing[:, 0] == has_data).sum())
        rows = side[has_data]
        outside += int(((rows < 0) | (rows > 10_000)).sum())
        falls += int((np.diff(rows.astype(np.int32), axis=1) < 0).sum())
    return outside, falls, partial


def largest_difference(stored: LookupBlock, expected: LookupBlock) -> float:
    """Largest difference of two blocks in percentage points; infinite when only one has data in a row."""
    if stored.within_positive.shape != expected.within_positive.shape and expected.has_data.any():
        return float("inf")
    if not np.array_equal(stored.has_data, expected.has_data):
        return float("inf")
    if not expected.has_data.any():
        return 0.0
    pairs = ((stored.within_positive, expected.within_positive), (stored.within_negative, expected.within_negative))
    return max(float(np.abs(a.astype(np.int32) - b.astype(np.int32)).max(initial=0)) for a, b in pairs) / 100.0


@dataclass(frozen=True)
class Gap:
    """A run of missing minutes. `first_missing_minute` and `last_missing_minute` are minutes since 1970 UTC."""

    first_missing_minute: int
    last_missing_minute: int

    @property
    def missing_minutes(self) -> int:
        """Length of the gap."""
        return self.last_missing_minute - self.first_missing_minute + 1


def find_gaps(minutes: Ints) -> list[Gap]:
    """Runs of missing minutes between the first and the last bar, oldest first. `minutes` must rise strictly."""
    after = np.flatnonzero(np.diff(minutes) > 1)
    return [Gap(int(minutes[i]) + 1, int(minutes[i + 1]) - 1) for i in after]
