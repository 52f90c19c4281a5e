"""When the standardised model's parameters are refitted, and from which symbol's bars."""

from dataclasses import dataclass, replace

from pipelines.domain.models.standardised_fingerprint import StandardisedParameters, fit_parameters
from pipelines.domain.prices.bars import MINUTES_PER_DAY
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.season import fit_season
from pipelines.domain.prices.volatility import FLOOR_SHARE, log_returns

#: Season and weights change slowly. A refit of five years takes 1 s, two years of counts 3 s.
REFIT_DAYS = 28
#: Days of bars from which a symbol uses its own distribution (domain.md, section 11: 60 are nearly enough).
MIN_OWN_DAYS = 60
#: Days of bars required when no other symbol's parameters can be borrowed.
MIN_DAYS = 7
#: Days of bars required to borrow: the longest half-life of the symbol's own volatility.
MIN_BORROWING_DAYS = 0.5


@dataclass(frozen=True)
class Refit:
    """A refit that is due. `borrowed`: with another symbol's distribution."""

    reason: str
    borrowed: bool


@dataclass(frozen=True)
class CurrentFit:
    """The parameters in use. `until`: no bar at or after this minute was used; `outdated`: by an earlier method."""

    until: int
    borrowed: bool
    outdated: bool = False


def due_refit(
    current: CurrentFit | None, first_minute: int, end: int, *, can_borrow: bool, requested: bool
) -> Refit | None:
    """The refit due for bars from `first_minute` up to `end` (minutes since 1970 UTC), None when none is.

    Raises ValueError when there is too little history, with the number of days required.
    """
    days = (end - first_minute) / MINUTES_PER_DAY
    borrowed = days < MIN_OWN_DAYS and can_borrow
    required = MIN_BORROWING_DAYS if borrowed else MIN_DAYS
    if current is None and days < required:
        others = "" if can_borrow else f", or another symbol with {MIN_OWN_DAYS} days to borrow from"
        raise ValueError(
            f"{days:.1f} days of bars are too few for the standardised model: it needs {required:g}{others}"
        )
    if current is None:
        return Refit("there are no parameters yet", borrowed)
    if requested:
        return Refit("requested", borrowed)
    if current.borrowed and days >= MIN_OWN_DAYS:
        return Refit(f"{days:.0f} days of own bars", borrowed=False)
    if current.outdated and not current.borrowed:
        return Refit("the last fit is by an earlier method", borrowed)
    if end - current.until >= REFIT_DAYS * MINUTES_PER_DAY:
        return Refit(f"the last fit is {(end - current.until) // MINUTES_PER_DAY} days old", borrowed)
    return None


def borrow(parameters: StandardisedParameters, history: MarketHistory) -> StandardisedParameters:
    """Another symbol's parameters with the variance floor of this symbol.

    Raises ValueError when its price never moves.
    """
    _, level = fit_season(log_returns(history.log_close), history.first_minute)
    volatility = replace(parameters.volatility, variance_floor=FLOOR_SHARE * level, fitted_until=history.end)
    return replace(parameters, volatility=volatility)


def fit_due(refit: Refit, history: MarketHistory, lender: StandardisedParameters | None) -> StandardisedParameters:
    """Parameters of a refit that is due. Raises ValueError when the bars do not allow it."""
    if refit.borrowed and lender is not None:
        return borrow(lender, history)
    return fit_parameters(history)
