"""Random cases of probability forecasts, and their tallies."""

import numpy as np

from pipelines.domain.evaluation.scoring import ScoreGrid, Tally

BANDS = 3
WEEKS = 12
GRID = ScoreGrid((1, 60), (10, 50, -10, -50), {"week": WEEKS, "volatility_band": BANDS, "hour": 24})
ROW_DIMENSIONS = ["week", "volatility_band", "hour"]

Cases = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]


def random_cases(rows: int, seed: int = 0, grid: ScoreGrid = GRID) -> Cases:
    """Overconfident forecasts with exclusive sides; one case in five is unknown, with a NaN forecast."""
    rng = np.random.default_rng(seed)
    shape = (rows, len(grid.ttcs_minutes), len(grid.moves_bps))
    p = rng.random(shape) / 2
    side = np.where(rng.random((*shape[:2], 1)) < 0.5, 1, -1)
    outcomes = (np.sign(grid.moves_bps) == side) & (rng.random(shape) < 0.1 + p)
    known = rng.random(shape[:2]) < 0.8
    p[~known] = np.nan
    labels = {name: rng.integers(0, levels, rows) for name, levels in grid.levels.items()}
    return p, outcomes, known, labels


def tally_of(cases: Cases, grid: ScoreGrid = GRID) -> Tally:
    tally = Tally(grid)
    tally.add(*cases)
    return tally
