"""Decide whether a challenger replaces the champion, by out-of-sample scores."""

from dataclasses import dataclass
from typing import Any

from pipelines.domain.evaluation.scoring import Tally, brier_difference, pooled, two_sided_slices

#: Tolerated increase of the absolute calibration error in any volatility band, in percentage points.
BAND_MARGIN_POINTS = 1.0
#: Calibration by band is that of the event |move| >= 0.5 % after 60 minutes.
BAND_TTC_MINUTES = 60
BAND_MOVE_BPS = 50


@dataclass(frozen=True)
class PromotionDecision:
    """The decision, its reasons, and the scores it is based on."""

    promote: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def band_errors(tally: Tally) -> dict[int, float]:
    """Mean forecast minus observed frequency by volatility band (0: calmest tenth), in percentage points."""
    slices = two_sided_slices(tally, "volatility_band", BAND_TTC_MINUTES, BAND_MOVE_BPS)
    return {int(band.level): 100.0 * band.calibration for band in slices}


def evaluate_challenger(challenger: Tally, champion: Tally) -> PromotionDecision:
    """Promote if the whole interval of the Brier difference is below zero and no band is calibrated much worse.

    Raises ValueError when the tallies have different cases or fewer than two weeks.
    """
    difference = brier_difference(challenger, champion)
    champion_errors, errors = band_errors(champion), band_errors(challenger)
    increases = {band: abs(errors[band]) - abs(champion_errors[band]) for band in errors if band in champion_errors}
    reasons = []
    if not difference.high < 0.0:
        reasons.append(
            f"its Brier score is not significantly better: difference {difference.estimate:+.6f}, 95 % interval "
            f"{difference.low:+.6f} .. {difference.high:+.6f}, which must lie below zero"
        )
    reasons += [
        f"volatility band {band} is {increase:.1f} points worse calibrated ({errors[band]:+.1f} against "
        f"{champion_errors[band]:+.1f}), at most {BAND_MARGIN_POINTS:g} are allowed"
        for band, increase in sorted(increases.items())
        if increase > BAND_MARGIN_POINTS
    ]
    evidence = {
        "cases": pooled(challenger).n,
        "brier": pooled(challenger).brier,
        "brier_champion": pooled(champion).brier,
        "brier_difference": [difference.estimate, difference.low, difference.high],
        "band_error_points": {str(band): round(error, 3) for band, error in errors.items()},
        "band_error_points_champion": {str(band): round(error, 3) for band, error in champion_errors.items()},
    }
    better = (
        f"Brier difference {difference.estimate:+.6f} ({difference.low:+.6f} .. {difference.high:+.6f}), "
        "no volatility band exceeds the calibration margin"
    )
    return PromotionDecision(not reasons, tuple(reasons) or (better,), evidence)
