"""Outliers: prices that cannot be right, whoever delivers them."""

from collections.abc import Iterable
from dataclasses import dataclass

#: No coin's price in USD is outside of this range; a value outside of it is in another unit.
MIN_PRICE_USD = 1e-12
MAX_PRICE_USD = 1e9
#: A larger change from the previous price is accepted only after CONFIRMATIONS further prices within CONFIRMING_CHANGE.
OUTLIER_CHANGE = 0.10
CONFIRMING_CHANGE = 0.01
CONFIRMATIONS = 2


@dataclass
class OutlierFilter:
    """Judges the prices of one symbol in the order of their instants.

    `level_usd`: the newest accepted price. Without one, the first price in range is accepted.
    """

    level_usd: float | None = None
    #: The outlier that waits for confirmation, and how often it was seen.
    _outlier: tuple[float, int] | None = None

    def refusal(self, price_usd: float) -> str | None:
        """Why a price is refused; None when it is accepted."""
        if not MIN_PRICE_USD <= price_usd <= MAX_PRICE_USD:
            return f"{price_usd:g} is not a valid price"
        if self.level_usd is not None and abs(price_usd / self.level_usd - 1) > OUTLIER_CHANGE:
            outlier, seen = self._outlier or (price_usd, 0)
            confirmations = seen if abs(price_usd / outlier - 1) <= CONFIRMING_CHANGE else 0
            if confirmations < CONFIRMATIONS:
                self._outlier = price_usd, confirmations + 1
                change_pct = 100 * abs(price_usd / self.level_usd - 1)
                return (
                    f"{price_usd:g} differs from {self.level_usd:g} by {change_pct:.0f} %: "
                    "rejected until further quotes confirm it"
                )
        self._outlier = None
        self.level_usd = price_usd
        return None

    def accepted(self, ticks: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
        """The ticks (instant, price) that are accepted, in order."""
        return (tick for tick in ticks if self.refusal(tick[1]) is None)
