"""Minute candles of a market: the best bid and the best ask of YES during a minute, dollars."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from pipelines.domain.markets.fees import CENTICENT
from pipelines.domain.markets.listings import Refused
from pipelines.errors import MarketError

MINUTE = timedelta(minutes=1)
#: The smallest part of a contract that is traded.
CONTRACT_STEP = Decimal("0.01")
#: Candles are kept of the time before a market's close that probabilities are computed for. An event that is open for a
#: week has 10,140 minutes.
WANTED = timedelta(hours=1)


@dataclass(frozen=True)
class PriceSpan:
    """First, highest, lowest and last best price of a minute, dollars; None for no order.

    A lowest bid or a highest ask of None: there was none for a part of the minute.
    """

    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None

    def problems(self, name: str, none: Decimal) -> list[str]:
        """What contradicts itself; `none`: the price that no order counts as, 0 for bids and 1 for asks."""
        prices = {each: getattr(self, each) for each in ("open", "high", "low", "close")}
        outside = [
            f"{name} {each} {price}, expected a multiple of {CENTICENT} above 0 and below 1"
            for each, price in prices.items()
            if price is not None and not (price.is_finite() and 0 < price < 1 and price % CENTICENT == 0)
        ]
        if outside:
            return outside
        first, high, low, last = (none if price is None else price for price in prices.values())
        return [
            f"{name} {each} {price}, expected from low {low} to high {high}"
            for each, price in (("open", first), ("close", last))
            if not low <= price <= high
        ]


@dataclass(frozen=True)
class Candle:
    """A minute of a market.

    `ends_at`: end of the minute, aware UTC. `volume`: contracts traded in the minute; `open_interest`: contracts open
    at its end. Raises MarketError for values that contradict each other.
    """

    ends_at: datetime
    yes_bid: PriceSpan
    yes_ask: PriceSpan
    volume: Decimal
    open_interest: Decimal

    def __post_init__(self) -> None:
        problems = self.yes_bid.problems("yes_bid", Decimal(0)) + self.yes_ask.problems("yes_ask", Decimal(1))
        if self.ends_at.utcoffset() != timedelta(0):
            problems.append(f"end {self.ends_at}, expected UTC")
        elif self.ends_at.second or self.ends_at.microsecond:
            problems.append(f"end {self.ends_at:%Y-%m-%d %H:%M:%S.%f}, expected a whole minute")
        problems += [
            f"{name} {count}, expected a multiple of {CONTRACT_STEP}, 0 or more"
            for name, count in (("volume", self.volume), ("open_interest", self.open_interest))
            if not (count.is_finite() and count >= 0 and count % CONTRACT_STEP == 0)
        ]
        if problems:
            raise MarketError("; ".join(problems))


@dataclass(frozen=True)
class MarketCandles:
    """Candles of a market by time, with those refused."""

    ticker: str
    candles: tuple[Candle, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class MinuteRange:
    """Minutes that end from `first_at` to `last_at`, both included, whole minutes in UTC."""

    first_at: datetime
    last_at: datetime

    def __len__(self) -> int:
        return max(0, (self.last_at - self.first_at) // MINUTE + 1)

    def __contains__(self, ends_at: datetime) -> bool:
        return self.first_at <= ends_at <= self.last_at

    def __str__(self) -> str:
        return f"{self.first_at:%Y-%m-%d %H:%M} to {self.last_at:%Y-%m-%d %H:%M} UTC"

    def parts(self, minutes: int) -> list["MinuteRange"]:
        """The same minutes in ranges of at most so many."""
        starts = [self.first_at + i * MINUTE for i in range(0, len(self), minutes)]
        return [MinuteRange(start, min(start + (minutes - 1) * MINUTE, self.last_at)) for start in starts]


def wanted_minutes(opens_at: datetime, closes_at: datetime) -> MinuteRange:
    """The minutes of a market whose candles are kept: complete ones of the last WANTED before its close."""
    starts_at = max(opens_at, closes_at - WANTED)
    first = starts_at.replace(second=0, microsecond=0) + MINUTE
    if starts_at.second or starts_at.microsecond:
        first += MINUTE
    return MinuteRange(first, closes_at.replace(second=0, microsecond=0))
