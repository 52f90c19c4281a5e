"""Whether a challenger may take the champion's place: only by outcomes that neither had seen."""

from dataclasses import dataclass
from typing import Any

from pipelines.domain.evaluation.scoring import Tally, brier_difference, pooled, two_sided_slices

#: A volatility band may be worse calibrated than the champion's by so much at most, in points of percent...
BAND_MARGIN_POINTS = 1.0
#: ...where calibration is the mean forecast less what happened, for |move| >= 0.5 % within 60 minutes.
BAND_TTC_MINUTES = 60
BAND_MOVE_BPS = 50


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote, why (not), and the figures that it rests on."""

    promote: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def band_errors(tally: Tally) -> dict[int, float]:
    """Points of percent by which the forecast is off in each volatility band, 0 the calmest tenth; signed."""
    slices = two_sided_slices(tally, "volatility_band", BAND_TTC_MINUTES, BAND_MOVE_BPS)
    return {int(each.level): 100.0 * each.calibration for each in slices}


def evaluate_challenger(challenger: Tally, champion: Tally) -> PromotionDecision:
    """Refuse unless the Brier difference is below zero with its whole interval, and no band is much worse.

    Raises ValueError when the tallies are not of the same cases, or of fewer than two weeks.
    """
    difference = brier_difference(challenger, champion)
    theirs, ours = band_errors(champion), band_errors(challenger)
    worse = {band: abs(ours[band]) - abs(theirs[band]) for band in ours if band in theirs}
    reasons = []
    if not difference.high < 0.0:
        reasons.append(
            f"its Brier score is not clearly better: difference {difference.estimate:+.6f}, 95 % interval "
            f"{difference.low:+.6f} .. {difference.high:+.6f}, which must lie below zero"
        )
    reasons += [
        f"volatility band {band} is {more:.1f} points worse calibrated ({ours[band]:+.1f} against "
        f"{theirs[band]:+.1f}), at most {BAND_MARGIN_POINTS:g} are allowed"
        for band, more in sorted(worse.items())
        if more > BAND_MARGIN_POINTS
    ]
    evidence = {
        "cases": pooled(challenger).n,
        "brier": pooled(challenger).brier,
        "brier_champion": pooled(champion).brier,
        "brier_difference": [difference.estimate, difference.low, difference.high],
        "band_error_points": {str(band): round(error, 3) for band, error in ours.items()},
        "band_error_points_champion": {str(band): round(error, 3) for band, error in theirs.items()},
    }
    better = (
        f"Brier difference {difference.estimate:+.6f} ({difference.low:+.6f} .. {difference.high:+.6f}), "
        "no volatility band worse calibrated beyond the margin"
    )
    return PromotionDecision(not reasons, tuple(reasons) or (better,), evidence)
