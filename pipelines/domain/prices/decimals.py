"""How many decimals a price needs, from coins of 100,000 USD to those of a thousandth of a cent."""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from math import floor, log10

#: Prices are shown with six significant digits, and in cents at least.
MIN_DECIMALS = 2
SIGNIFICANT_DIGITS = 6


def price_decimals(price_usd: float) -> int:
    """Decimals of a price for SIGNIFICANT_DIGITS; at least cents.

    >>> price_decimals(95_000.0), price_decimals(2.3137), price_decimals(0.00001234)
    (2, 5, 10)
    """
    return max(MIN_DECIMALS, SIGNIFICANT_DIGITS - 1 - floor(log10(price_usd)))


@lru_cache(maxsize=4096)  # live, the strikes of a minute are those of the minute before
def step_decimals(step: float) -> int:
    """Decimals of the multiples of a step.

    >>> step_decimals(250.0), step_decimals(0.02), step_decimals(1e-07)
    (0, 2, 7)
    """
    exponent = Decimal(repr(step)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def distance_decimals(strikes_usd: Iterable[float]) -> int:
    """Decimals of the distances to strikes: two more than the strikes have, at least cents."""
    return max(MIN_DECIMALS, max((step_decimals(strike) for strike in strikes_usd), default=0) + 2)


def price_text(price_usd: float) -> str:
    """A price for readers: at least cents, without further zeros at its end.

    >>> price_text(95000.0), price_text(2.3137), price_text(0.00001234)
    ('95,000.00', '2.3137', '0.00001234')
    """
    whole, _, decimals = f"{price_usd:,.{price_decimals(price_usd)}f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<{MIN_DECIMALS}}"


def strike_text(strike_usd: float) -> str:
    """A strike for readers, with the decimals that it has.

    >>> strike_text(95250), strike_text(0.0000123)
    ('95,250', '0.0000123')
    """
    return f"{strike_usd:,.{step_decimals(float(strike_usd))}f}"
