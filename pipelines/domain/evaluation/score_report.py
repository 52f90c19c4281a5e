"""What a walk-forward found, as rows: one per model, dimension and level."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.evaluation.promotion import BAND_MOVE_BPS, BAND_TTC_MINUTES
from pipelines.domain.evaluation.scoring import (
    LOG_LOSS_CLIP,
    RELIABILITY_BINS,
    Interval,
    Slice,
    Tally,
    merge,
    pooled,
    reliability,
    skill_interval,
    slices,
    two_sided_slices,
)
from pipelines.domain.evaluation.walk_forward import VOLATILITY_BANDS, Fold
from pipelines.domain.prices.bars import Floats, Ints

REFERENCE = "climatology"
DIMENSIONS = ("ttc_minutes", "move_bps", "volatility_band", "hour", "momentum_band")
BAND_CELL = f"band_{BAND_TTC_MINUTES}_min_{BAND_MOVE_BPS}_bps"


@dataclass(frozen=True)
class ScoreRow:
    """One row of `analytics.score`. Probabilities are fractions; skill is against climatology on the same cases."""

    model: str
    dimension: str
    level: str
    n: int
    mean_probability: float
    observed_frequency: float
    brier: float | None = None
    log_loss: float | None = None
    sharpness: float | None = None
    skill: float | None = None
    skill_low: float | None = None
    skill_high: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, under the names of the columns."""
        return {"happened" if name == "observed_frequency" else name: value for name, value in asdict(self).items()}


def merged_tallies(folds: Sequence[Fold]) -> dict[str, Tally]:
    """Every model's tally over all folds."""
    return {label: merge([fold.tallies[label] for fold in folds]) for label in folds[0].tallies}


def score_rows(folds: Sequence[Fold]) -> list[ScoreRow]:
    """Everything that is stored of a walk-forward. Raises ValueError when it holds no case."""
    tallies = merged_tallies(folds)
    rows = []
    for label, tally in tallies.items():
        rows.append(_row(label, pooled(tally), skill=_skill(tally, tallies)))
        for fold in folds:
            if len(folds) > 1:
                mine = fold.tallies[label]
                level = datetime.fromtimestamp(fold.start * 60, UTC).date().isoformat()
                rows.append(_row(label, pooled(mine), ("quarter", level), _skill(mine, fold.tallies)))
        for dimension in DIMENSIONS:
            rows += [_row(label, each) for each in slices(tally, dimension)]
        found = two_sided_slices(tally, "volatility_band", BAND_TTC_MINUTES, BAND_MOVE_BPS)
        rows += [_row(label, each, (BAND_CELL, str(each.level))) for each in found]
        for band in (None, *range(VOLATILITY_BANDS)):
            name = "all" if band is None else str(band)
            rows += [
                ScoreRow(
                    label, "reliability", f"{name}/{number:02d}", each.n, each.mean_probability, each.observed_frequency
                )
                for number, each in enumerate(reliability(tally, band))
            ]
    return rows


def live_rows(model: str, hour: Ints, probability: Floats, happened: npt.NDArray[np.bool_]) -> list[ScoreRow]:
    """Scores of live answers, all [n] and n > 0: pooled, by hour of the day (UTC), and in 20 bins of the forecast."""
    clipped = np.clip(probability, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    squared_error = np.square(probability - happened)
    log_loss = -np.log(np.where(happened, clipped, 1.0 - clipped))
    bins = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)

    def row(dimension: str, level: str, chosen: npt.NDArray[np.bool_]) -> ScoreRow:
        p = probability[chosen]
        return ScoreRow(
            model,
            dimension,
            level,
            len(p),
            float(p.mean()),
            float(happened[chosen].mean()),
            float(squared_error[chosen].mean()),
            float(log_loss[chosen].mean()),
            float(p.var()),
        )

    rows = [row("all", "all", np.ones(len(hour), dtype=np.bool_))]
    rows += [row("hour", str(each), hour == each) for each in np.unique(hour).tolist()]
    rows += [row("reliability", f"all/{each:02d}", bins == each) for each in np.unique(bins).tolist()]
    return rows


def _skill(tally: Tally, others: Mapping[str, Tally]) -> Interval | None:
    reference = others.get(REFERENCE)
    try:
        return None if reference is None or reference is tally else skill_interval(tally, reference)
    except ValueError:  # fewer than two weeks: there is no interval
        return None


def _row(label: str, each: Slice, place: tuple[str, str] | None = None, skill: Interval | None = None) -> ScoreRow:
    dimension, level = place or (each.dimension, str(each.level))
    return ScoreRow(
        label,
        dimension,
        level,
        each.n,
        each.mean_probability,
        each.observed_frequency,
        each.brier,
        each.log_loss,
        each.sharpness,
        *((skill.estimate, skill.low, skill.high) if skill else (None, None, None)),
    )
