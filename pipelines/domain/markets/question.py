"""What a market asks of a symbol's price, with what is known of its settlement, and how the JSON says it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.domain.markets.basis import Basis
from pipelines.domain.markets.settlement import KnownValues, Settlement, SettlementRule


@dataclass(frozen=True)
class MarketQuestion:
    """A market's settlement rule, the values of its last minute that are known, and the basis.

    `known`: None when nothing is asked about the last minute. `basis`: None when none is known; `refused`: why the
    sources before that of the basis were refused. `warnings`: what is assumed where something is not known.
    """

    rule: SettlementRule = SettlementRule.LAST_PRICE
    known: KnownValues | None = None
    basis: Basis | None = None
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def settlement(self) -> Settlement:
        """The settlement as the models are asked about it."""
        known_mean = None if self.known is None else self.known.mean_usd
        return Settlement(self.rule, known_mean, 0.0 if self.basis is None else self.basis.bps)

    @property
    def problems(self) -> list[str]:
        """What makes the answers less certain than they look."""
        if self.known is None or not self.known.missing:
            return []
        return [f"{self.known.missing} of the {self.known.due} one-second prices of the last minute are missing"]

    @property
    def is_answerable(self) -> bool:
        """Whether enough is known of the last minute."""
        return self.known is None or self.known.usable

    def fields(self, now: datetime) -> dict[str, Any]:
        """The fields of the JSON at `now` (aware UTC)."""
        known, basis = self.known, self.basis
        return {
            "settlement": str(self.rule),
            "known_values": 0 if known is None else known.due - known.missing,
            "known_mean": None if known is None or known.mean_usd is None else round(known.mean_usd, 8),
            "basis": None
            if basis is None
            else {
                "bps": round(basis.bps, 3),
                "source": str(basis.source),
                "timestamp": basis.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "age_seconds": max(0, round((now - basis.at).total_seconds())),
                "refused": list(self.refused),
            },
            "warnings": list(self.warnings),
        }


def without_basis(why: str) -> str:
    """The warning of an answer without a basis."""
    return f"no basis, the market's index may differ from this price: {why}"


#: The price itself at the close.
LAST_PRICE_QUESTION = MarketQuestion()
