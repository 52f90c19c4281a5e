"""Order books and quotes, prices in dollars.

The exchange's book has bids only. An offer of YES at p is a bid for NO at 1 - p, so the best ask of YES is 1 minus the
best bid for NO. The two sides are different orders, not copies of each other: each has its own prices and sizes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pipelines.domain.markets.contracts import PriceRange, Side


@dataclass(frozen=True)
class Quote:
    """A price with the number of contracts at it, None where unknown."""

    price: Decimal
    contracts: Decimal | None = None


@dataclass(frozen=True)
class Quotes:
    """The best bids and asks of both sides, None where there is none.

    `problems`: why a quote is missing, or why the quotes cannot be relied on.
    """

    yes_bid: Quote | None = None
    yes_ask: Quote | None = None
    no_bid: Quote | None = None
    no_ask: Quote | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Book:
    """The bids of both sides of a market, in any order."""

    ticker: str
    yes_bids: tuple[Quote, ...]
    no_bids: tuple[Quote, ...]

    def quotes(self, price_ranges: Iterable[PriceRange] = ()) -> Quotes:
        """The best quotes. Levels without contracts or with a price outside 0 to 1 do not count and are problems.

        So are prices that are not on a tick of `price_ranges` (they count), when these are given.
        """
        ranges = tuple(price_ranges)
        problems: list[str] = []
        best: dict[Side, Quote | None] = dict.fromkeys(Side)
        for side, bids in ((Side.YES, self.yes_bids), (Side.NO, self.no_bids)):
            for bid in bids:
                if not 0 < bid.price < 1 or (bid.contracts is not None and bid.contracts <= 0):
                    problems.append(f"{side} bid of {bid.contracts} at {bid.price}")
                    continue
                if ranges and not on_tick(bid.price, ranges):
                    problems.append(f"{side} bid at {bid.price} is not on a tick")
                highest = best[side]
                if highest is None or bid.price > highest.price:
                    best[side] = bid
        return quotes_of_bids(best[Side.YES], best[Side.NO], tuple(problems))


def quotes_of_bids(yes_bid: Quote | None, no_bid: Quote | None, problems: tuple[str, ...] = ()) -> Quotes:
    """The quotes that follow from the best bid of each side, with `problems` first."""
    found = list(problems)
    if yes_bid is None and no_bid is None:
        found.append("no bids")
    elif yes_bid is None or no_bid is None:
        found.append("no bids for YES" if yes_bid is None else "no bids for NO")
    elif yes_bid.price + no_bid.price >= 1:
        state = "locked" if yes_bid.price + no_bid.price == 1 else "crossed"
        found.append(f"{state}: bids of {yes_bid.price} for YES and {no_bid.price} for NO")
    return Quotes(yes_bid, _ask(no_bid), no_bid, _ask(yes_bid), tuple(found))


def on_tick(price: Decimal, price_ranges: Iterable[PriceRange]) -> bool:
    """Whether an order may have a price (dollars, above 0 and below 1)."""
    return 0 < price < 1 and any(
        each.start <= price <= each.end and (price - each.start) % each.step == 0 for each in price_ranges
    )


def _ask(opposite_bid: Quote | None) -> Quote | None:
    return None if opposite_bid is None else Quote(1 - opposite_bid.price, opposite_bid.contracts)
