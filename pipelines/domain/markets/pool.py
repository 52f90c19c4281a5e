"""The pool of a market's mid with the model's probability, and the rule by which it is served instead of the mid."""

from dataclasses import dataclass

import numpy as np

from pipelines.domain.prices.bars import Floats

#: Settled events that a series needs before its pool can be served.
MIN_POOL_EVENTS = 200


@dataclass(frozen=True)
class PoolDecision:
    """Whether the pool is served for a series, or else the mid; `reason`: in words."""

    served: bool
    reason: str

    @property
    def name(self) -> str:
        """What is served: "pool" or "mid"."""
        return "pool" if self.served else "mid"


#: Of a series that was never scored.
NOT_SCORED = PoolDecision(False, "the series has not been scored yet")


def pooled_with(mids: Floats, probabilities: Floats) -> Floats:
    """Half of the log odds of each, as a fraction.

    Where one of them is certain the pool is, too; NaN where they are certain of opposite outcomes, or one is NaN.

    >>> pooled_with(np.array([0.5, 0.2]), np.array([0.5, 0.8])).tolist()
    [0.5, 0.5]
    """
    yes, no = np.sqrt(mids * probabilities), np.sqrt((1.0 - mids) * (1.0 - probabilities))
    with np.errstate(invalid="ignore"):
        return np.asarray(yes / (yes + no))


def pool_decision(events: int, difference: float, interval: tuple[float, float] | None) -> PoolDecision:
    """The rule: over at least 200 settled events, the pool is better than the mid with its whole interval.

    `difference`: Brier score of the pool minus that of the mid, below 0 the pool is better; `interval`: its 95 %
    interval, events resampled, None where there is none.
    """
    if events < MIN_POOL_EVENTS:
        return PoolDecision(False, f"{events} settled event{'s' if events != 1 else ''}, {MIN_POOL_EVENTS} are needed")
    if interval is None:
        return PoolDecision(False, "the difference to the mid has no interval")
    low, high = interval
    shown = f"[{low:+.4f}, {high:+.4f}]"
    if low > 0.0:
        return PoolDecision(False, f"the mid is better: interval {shown} is above zero")
    if not high < 0.0:  # nor is anything served on what is not a number
        return PoolDecision(False, f"interval {shown} includes zero")
    return PoolDecision(True, f"difference to the mid {difference:+.4f} {shown}, {events} settled events")


def decision_by_scores(
    events: int, difference: float, interval: tuple[float, float] | None, *, model: str, champion: str | None
) -> PoolDecision:
    """`pool_decision` by the scores of `model`; the mid where another model, `champion`, answers now."""
    if champion is not None and champion != model:
        return PoolDecision(False, f"the scores are of {model}, and {champion} answers now")
    return pool_decision(events, difference, interval)
