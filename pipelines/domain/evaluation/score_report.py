"""Rows of `analytics.score`: scores by model, settlement rule, dimension and level."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.prices.bars import Floats, Ints, instant_of_minute

REFERENCE = "climatology"
#: One-minute bars have the last price of a minute, and do not give the mean of its 60 seconds.
WALK_FORWARD_RULE = SettlementRule.LAST_PRICE
DIMENSIONS = ("ttc_minutes", "move_bps", "volatility_band", "hour", "momentum_band")
BAND_CELL = f"band_{BAND_TTC_MINUTES}_min_{BAND_MOVE_BPS}_bps"


@dataclass(frozen=True)
class ScoreRow:
    """One row of `analytics.score`. Probabilities are fractions; the reference of the skill is climatology.

    `settlement`: the rule of all of its outcomes.
    """

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
    settlement: SettlementRule = WALK_FORWARD_RULE

    def as_json(self) -> dict[str, Any]:
        """JSON object with the names of the table's columns."""
        return {"happened" if name == "observed_frequency" else name: value for name, value in asdict(self).items()}


def merged_tallies(folds: Sequence[Fold]) -> dict[str, Tally]:
    """Tally of each model over all folds."""
    return {label: merge([fold.tallies[label] for fold in folds]) for label in folds[0].tallies}


def score_rows(folds: Sequence[Fold]) -> list[ScoreRow]:
    """Score rows of a walk-forward evaluation. Raises ValueError without cases."""
    tallies = merged_tallies(folds)
    rows = []
    for label, tally in tallies.items():
        rows.append(_row(label, pooled(tally), skill=_skill(tally, tallies)))
        for fold in folds:
            if len(folds) > 1:
                of_fold = fold.tallies[label]
                level = instant_of_minute(fold.start).date().isoformat()
                rows.append(_row(label, pooled(of_fold), ("quarter", level), _skill(of_fold, fold.tallies)))
        for dimension in DIMENSIONS:
            rows += [_row(label, each) for each in slices(tally, dimension)]
        bands = two_sided_slices(tally, "volatility_band", BAND_TTC_MINUTES, BAND_MOVE_BPS)
        rows += [_row(label, band, (BAND_CELL, str(band.level))) for band in bands]
        for band in (None, *range(VOLATILITY_BANDS)):
            name = "all" if band is None else str(band)
            for number, part in enumerate(reliability(tally, band)):
                level = f"{name}/{number:02d}"
                rows.append(
                    ScoreRow(label, "reliability", level, part.n, part.mean_probability, part.observed_frequency)
                )
    return rows


def live_rows(
    model: str, settlement: SettlementRule, hour: Ints, probability: Floats, outcome: npt.NDArray[np.bool_]
) -> list[ScoreRow]:
    """Scores of live answers of one settlement rule: pooled, by hour of the day (UTC), in 20 bins of the forecast.

    `hour`, `probability` and `outcome`: [n], n > 0.
    """
    squared_error = np.square(probability - outcome)
    clipped = np.clip(probability, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    log_loss = -np.log(np.where(outcome, clipped, 1.0 - clipped))
    bins = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)

    def row(dimension: str, level: str, selected: npt.NDArray[np.bool_]) -> ScoreRow:
        return ScoreRow(
            model,
            dimension,
            level,
            int(selected.sum()),
            float(probability[selected].mean()),
            float(outcome[selected].mean()),
            float(squared_error[selected].mean()),
            float(log_loss[selected].mean()),
            sharpness=float(probability[selected].var()),
            settlement=settlement,
        )

    rows = [row("all", "all", np.ones(len(hour), dtype=np.bool_))]
    rows += [row("hour", str(level), hour == level) for level in np.unique(hour).tolist()]
    rows += [row("reliability", f"all/{level:02d}", bins == level) for level in np.unique(bins).tolist()]
    return rows


def _skill(tally: Tally, tallies: Mapping[str, Tally]) -> Interval | None:
    reference = tallies.get(REFERENCE)
    try:
        return None if reference is None or reference is tally else skill_interval(tally, reference)
    except ValueError:  # fewer than two weeks have no interval
        return None


def _row(label: str, scores: Slice, place: tuple[str, str] | None = None, skill: Interval | None = None) -> ScoreRow:
    dimension, level = place or (scores.dimension, str(scores.level))
    return ScoreRow(
        label,
        dimension,
        level,
        scores.n,
        scores.mean_probability,
        scores.observed_frequency,
        scores.brier,
        scores.log_loss,
        scores.sharpness,
        *((skill.estimate, skill.low, skill.high) if skill else (None, None, None)),
    )
