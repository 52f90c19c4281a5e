"""What the desk did, in order: each event with the posting that it made in the book."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pipelines.domain.desk.book import Account
from pipelines.domain.markets.contracts import Side


class EventKind(StrEnum):
    """Kinds of events."""

    #: A trade was decided.
    SIGNAL = "signal"
    #: Its order met the first quote after the latency.
    WORK = "work"
    BUY = "buy"
    SALE_SIGNAL = "sale_signal"
    SELL = "sell"
    #: The rest of an order was cancelled.
    CANCEL = "cancel"
    #: A trade without contracts, or whose contracts were all sold, has ended.
    END = "end"
    SETTLE = "settle"
    REFUND = "refund"
    #: The result of a settled trade was changed.
    REVISE = "revise"
    #: A limit is exceeded, and kept again.
    BREACH = "breach"
    KEPT = "kept"
    STOP = "stop"
    START = "start"
    RULES = "rules"
    #: The clock was set back.
    CLOCK = "clock"


@dataclass(frozen=True)
class DeskEvent:
    """An event at `at` (aware UTC).

    `price`: dollars per contract of the side; `fee_usd`, `posting`: dollars; `trade`: its number. None and empty where
    the kind has none.
    """

    at: datetime
    kind: EventKind
    reason: str = ""
    trade: int | None = None
    symbol: str | None = None
    ticker: str | None = None
    side: Side | None = None
    price: Decimal | None = None
    contracts: Decimal | None = None
    fee_usd: Decimal | None = None
    posting: Mapping[Account, Decimal] = field(default_factory=dict)
