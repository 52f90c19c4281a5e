"""Tickers in requests: checked, each once, and as many as a request may have."""

import re
from collections.abc import Iterable, Sequence

from pipelines.errors import MarketError
from pipelines.markets.fields import TICKER

#: Tickers of one request: the exchange's limit for order books and candles, and about 3 kB of address.
TICKERS_PER_REQUEST = 100
#: Tickers of one question: after an outage thousands are due, and each answer has the client's deadline.
MARKETS_PER_QUESTION = 500
#: Why what was asked for by ticker is refused when the answer does not have it.
NOT_RECEIVED = "not in the exchange's answer"


def checked(ticker: str) -> str:
    """A ticker that can be part of an address. Raises MarketError."""
    if not re.fullmatch(TICKER, ticker):
        raise MarketError(f"ticker {ticker!r}: expected letters, digits, dots and hyphens")
    return ticker


def distinct(tickers: Iterable[str]) -> list[str]:
    """Checked tickers, each once, in their order."""
    return list(dict.fromkeys(map(checked, tickers)))


def chunks(tickers: Sequence[str], size: int = TICKERS_PER_REQUEST) -> list[list[str]]:
    """Tickers by request."""
    return [list(tickers[i : i + size]) for i in range(0, len(tickers), size)]
