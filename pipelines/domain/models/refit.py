"""When the standardised model's parameters are fitted anew, and from whose bars."""

from dataclasses import dataclass, replace

from pipelines.domain.models.standardised_fingerprint import StandardisedParameters, fit_parameters
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.volatility import FLOOR_SHARE, MINUTES_PER_DAY, fit_season, log_returns

#: Season and weights change slowly; fitted anew, five years take a second and two years of counts three.
REFIT_DAYS = 28
#: From so many days on a symbol answers from its own distribution (domain.md, section 11: 60 are nearly enough).
OWN_DAYS = 60
#: Without another symbol to borrow from, so many must do.
LEAST_DAYS = 7
#: With one: the longest half-life of its own volatility.
LEAST_BORROWING_DAYS = 0.5


@dataclass(frozen=True)
class Fit:
    """A fit that is due. `borrowed`: with another symbol's distribution."""

    reason: str
    borrowed: bool


@dataclass(frozen=True)
class Fitted:
    """What is known of the parameters in use. `until`: nothing at or after this minute was used."""

    until: int
    borrowed: bool


def due_fit(fitted: Fitted | None, first_minute: int, end: int, *, can_borrow: bool, asked: bool) -> Fit | None:
    """The fit to make for bars from `first_minute` up to `end` (minutes since 1970 UTC); None when none is due.

    Raises ValueError when there is too little history, saying how much is needed.
    """
    days = (end - first_minute) / MINUTES_PER_DAY
    borrowed = days < OWN_DAYS and can_borrow
    least = LEAST_BORROWING_DAYS if borrowed else LEAST_DAYS
    if fitted is None and days < least:
        others = "" if can_borrow else f", or another symbol with {OWN_DAYS} days to borrow from"
        raise ValueError(f"{days:.1f} days of bars are too few for the standardised model: it needs {least:g}{others}")
    if fitted is None:
        return Fit("there are no parameters yet", borrowed)
    if asked:
        return Fit("asked for", borrowed)
    if fitted.borrowed and days >= OWN_DAYS:
        return Fit(f"{days:.0f} days of own bars", borrowed=False)
    if end - fitted.until >= REFIT_DAYS * MINUTES_PER_DAY:
        return Fit(f"the last fit is {(end - fitted.until) // MINUTES_PER_DAY} days old", borrowed)
    return None


def borrow(parameters: StandardisedParameters, history: MarketHistory) -> StandardisedParameters:
    """Another symbol's parameters for a symbol of another size: only the least variance is its own.

    Raises ValueError when its price never moves.
    """
    _, level = fit_season(log_returns(history.log_close), history.first_minute)
    volatility = replace(parameters.volatility, variance_floor=FLOOR_SHARE * level, fitted_until=history.end)
    return replace(parameters, volatility=volatility)


def make_fit(due: Fit, history: MarketHistory, lender: StandardisedParameters | None) -> StandardisedParameters:
    """Parameters by a fit that is due. Raises ValueError when the bars do not allow it."""
    if due.borrowed and lender is not None:
        return borrow(lender, history)
    return fit_parameters(history)
