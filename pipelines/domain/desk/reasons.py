"""Why the desk does not enter a trade; each is counted."""

from enum import StrEnum


class Rejection(StrEnum):
    """The first gate that a market did not pass, in the order of the gates."""

    CLOCK = "the clock was set back"
    BOARD = "the event may not be traded now"
    TIME = "too close to the close, or too far from it"
    STATUS = "the market is not active"
    OLD = "the quotes are too old, or dated ahead"
    QUOTES = "the quotes cannot be relied on"
    NO_ASK = "no side has an ask with a bid below it"
    SPREAD = "the spread is too wide"
    UNKNOWN = "the probability is not known"
    THIN = "too few independent outcomes behind the probability"
    EDGE = "the edge is below the threshold"
    INTERVAL = "the edge is small against the interval of the probability"
    SIZE = "no contracts are shown at the ask, or the desk took them before"
    STOPPED = "the desk is stopped"
    DAILY_LOSS = "the limit of daily loss is reached"
    HELD = "the market has a trade already"
    EVENT = "the limit of positions of the event is reached"
    SYMBOL = "the limit of positions of the symbol is reached"
    CAPITAL = "the limit of capital of the symbol is reached"
    CASH = "too little cash"
    STAKE = "one contract costs more than the stake"
