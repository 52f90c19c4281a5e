"""Rules of the paper desk: when it enters and leaves, how its orders meet the market, and its limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from pipelines.domain.markets.fees import CENT, CENTICENT


class Exit(StrEnum):
    """Which rule sells positions before the close."""

    NONE = "none"
    #: Sell when the bid, less the fee, is above the probability.
    EDGE = "edge"


class Served(StrEnum):
    """Which probability the desk believes."""

    #: As in the strike table: the pool once scores support it, else the mid, by which no price has an edge.
    SERVED = "served"
    #: The pool, whether or not scores support it.
    POOL = "pool"


@dataclass(frozen=True)
class DeskRules:
    """Money is in dollars, prices and edges in dollars per contract, which pays one dollar.

    Raises ValueError, naming all of them, for values outside `BOUNDS` and for rules that contradict each other.
    """

    #: Least and greatest value by field, both permitted.
    BOUNDS: ClassVar[Mapping[str, tuple[Decimal, Decimal]]] = {
        name: (Decimal(least), Decimal(most))
        for name, least, most in (
            ("capital_usd", "1", "1000000000"),
            ("stake_usd", "0.01", "1000000000"),
            ("min_edge_usd", "-1", "1"),
            ("interval_share", "0", "100"),
            ("min_independent", "0", "1000000000"),
            ("max_spread_usd", "0", "1"),
            ("max_quote_age_seconds", "0.001", "3600"),
            ("min_ttc_seconds", "0", "86400"),
            ("max_ttc_seconds", "0", "604800"),
            ("latency_seconds", "0", "3600"),
            ("order_seconds", "0.001", "86400"),
            ("exit_edge_usd", "-1", "1"),
            ("daily_loss_usd", "0.01", "1000000000"),
            ("capital_per_symbol_usd", "0", "1000000000"),
            ("positions_per_symbol", "0", "10000"),
            ("positions_per_event", "0", "10000"),
        )
    }

    #: Capital of a new campaign.
    capital_usd: Decimal = Decimal(10_000)
    #: Most that one entry may cost, with its fee.
    stake_usd: Decimal = Decimal(50)
    #: Probability that the desk believes.
    probability: Served = Served.SERVED
    #: Least edge of an entry: probability less ask less fee.
    min_edge_usd: Decimal = Decimal("0.02")
    #: The edge must be at least this share of half the width of the probability's 95 % interval.
    interval_share: Decimal = Decimal("0.5")
    #: Least number of independent outcomes behind the model's probability.
    min_independent: int = 30
    #: Widest spread of the side's quotes.
    max_spread_usd: Decimal = Decimal("0.10")
    #: Oldest quotes, seconds.
    max_quote_age_seconds: Decimal = Decimal(2)
    #: Entries only this long before the close: at least, and at most.
    min_ttc_seconds: int = 60
    max_ttc_seconds: int = 3540
    #: An order meets only quotes that arrive this long after it, or later.
    latency_seconds: Decimal = Decimal(1)
    #: What is not filled after this time is cancelled.
    order_seconds: Decimal = Decimal(90)
    #: Rule by which positions are sold before the close.
    exit: Exit = Exit.NONE
    #: Least gain of an exit by `edge`: bid less fee less probability.
    exit_edge_usd: Decimal = Decimal("0.02")
    #: Precision of the account's balance, to which each fill is rounded: 0.01 or 0.0001.
    balance_precision_usd: Decimal = CENTICENT
    #: Loss of a UTC day after which no trade is entered until the next.
    daily_loss_usd: Decimal = Decimal(500)
    #: Most capital bound in the positions and orders of one symbol.
    capital_per_symbol_usd: Decimal = Decimal(2_500)
    #: Most positions at once of one symbol, and of one event: the strikes of an event are one bet.
    positions_per_symbol: int = 10
    positions_per_event: int = 1

    def __post_init__(self) -> None:
        values = {name: Decimal(getattr(self, name)) for name in self.BOUNDS}
        problems = [
            f"{name} is {values[name]}, expected {least} to {most}"
            for name, (least, most) in self.BOUNDS.items()
            if not (values[name].is_finite() and least <= values[name] <= most)
        ]
        if self.balance_precision_usd not in (CENT, CENTICENT):
            problems.append(f"balance_precision_usd is {self.balance_precision_usd}, expected {CENT} or {CENTICENT}")
        if not problems:
            if (least := self.min_ttc_seconds) > (most := self.max_ttc_seconds):
                problems.append(f"min_ttc_seconds {least} is above max_ttc_seconds {most}")
            if (latency := self.latency_seconds) >= (lasts := self.order_seconds):
                problems.append(
                    f"latency_seconds {latency} is not below order_seconds {lasts}, no order could be filled"
                )
        if problems:
            raise ValueError("; ".join(problems))
