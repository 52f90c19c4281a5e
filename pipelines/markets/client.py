"""Requests of the exchange's public API, which needs no key.

Only ccxt's methods of single endpoints are used: its parsed structures put the expiry a week late and drop strikes.
JSON is parsed without floats, because strikes are exact.

A request is repeated, with growing random waits, when the exchange limits the rate (it does not say how long to wait),
fails with a status of 500 or more, times out, or cannot be reached. All failures are raised as MarketError.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Self

from ccxt.base.errors import BadRequest, ExchangeNotAvailable, NetworkError, RateLimitExceeded, RequestTimeout
from ccxt.prediction import kalshi
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipelines.domain.markets.books import Book
from pipelines.domain.markets.fees import FeeSchedule
from pipelines.domain.markets.listings import (
    Books,
    Event,
    ExchangeStatus,
    HistoricalCutoff,
    Listing,
    Listings,
    Refused,
)
from pipelines.errors import MarketError, single_line
from pipelines.markets import wire
from pipelines.markets.fields import TICKER

BASE_URL = "https://external-api.kalshi.com/trade-api/v2"
PAGE_ROWS = 1_000
#: Tickers of one request: the exchange's limit for order books, and about 3 kB of address.
TICKERS_PER_REQUEST = 100
MAX_MESSAGE_LENGTH = 200
#: ccxt takes most statuses for an outage; those from 400 to 499 are ours, except these.
TEMPORARY_STATUSES = {408: RequestTimeout, 418: RateLimitExceeded, 429: RateLimitExceeded}
HTTP_ERRORS = (
    {str(status): BadRequest for status in range(400, 500)}
    | {str(status): ExchangeNotAvailable for status in range(500, 600)}
    | {str(status): error for status, error in TEMPORARY_STATUSES.items()}
)


class MarketFilter(StrEnum):
    """Statuses in requests; those in a market's record have other names."""

    UNOPENED = "unopened"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"


@dataclass(frozen=True)
class ClientSettings:
    """Where and how to ask.

    `timeout_seconds`: of one request; `deadline_seconds`: of a call with all its pages and repetitions. The exchange
    permits 20 requests per second without a key.
    """

    base_url: str = BASE_URL
    timeout_seconds: float = 10.0
    deadline_seconds: float = 60.0
    requests_per_second: float = 10.0
    attempts: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 10.0
    max_pages: int = 50


class MarketClient:
    """A client for the life of one event loop, used as an asynchronous context manager."""

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self._settings = settings or ClientSettings()
        rate_limit_ms = 1_000 / self._settings.requests_per_second
        self._exchange: Any = kalshi(
            {
                "enableRateLimit": True,
                "rateLimit": rate_limit_ms,
                "timeout": int(self._settings.timeout_seconds * 1_000),
            }
        )
        self._exchange.urls["api"]["kalshi"] = self._settings.base_url.rstrip("/")
        self._exchange.httpExceptions = HTTP_ERRORS
        self._exchange.on_json_response = partial(json.loads, parse_float=Decimal, parse_constant=_refuse_constant)
        # Lists as repeated parameters, as `markets/orderbooks` expects them.
        self._exchange.urlencode = partial(self._exchange.urlencode, doseq=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def exchange_status(self) -> ExchangeStatus:
        """Whether the exchange trades."""
        async with self._call("exchange status"):
            return wire.read_exchange_status(await self._get(self._exchange.kalshiPublicGetExchangeStatus))

    async def historical_cutoff(self) -> HistoricalCutoff:
        """Where `historical_markets` begins."""
        # ccxt has this endpoint under another path, which does not exist.
        endpoint = partial(self._exchange.request, "historical/cutoff", ["kalshi", "public"], "GET")
        async with self._call("historical cutoff"):
            return wire.read_historical_cutoff(await self._get(endpoint))

    async def fee_schedule(self, series_ticker: str) -> FeeSchedule:
        """The fee terms of a series, and announced changes of them."""
        series = {"series_ticker": _checked(series_ticker)}
        async with self._call(f"fees of {series_ticker}"):
            found = await self._get(self._exchange.kalshiPublicGetSeriesSeriesTicker, series)
            changes = await self._get(self._exchange.kalshiPublicGetSeriesFeeChanges, series)
            rows, _ = wire.read_page(changes, "series_fee_change_arr")
            return wire.read_fee_schedule(found, rows, series_ticker)

    async def event(self, ticker: str) -> Event:
        """One event with its markets."""
        request = {"event_ticker": _checked(ticker), "with_nested_markets": True}
        async with self._call(f"event {ticker}"):
            return wire.read_event(await self._get(self._exchange.kalshiPublicGetEventsEventTicker, request), ticker)

    async def events(
        self, series_ticker: str, status: MarketFilter | None = MarketFilter.OPEN
    ) -> tuple[tuple[Event, ...], tuple[Refused, ...]]:
        """The events of a series with their markets, and those refused; several are open at a time."""
        request = {"series_ticker": _checked(series_ticker), "with_nested_markets": True, **_status(status)}
        async with self._call(f"events of {series_ticker}"):
            rows = await self._rows(self._exchange.kalshiPublicGetEvents, "events", request, rows_per_page=200)
            return wire.read_events(rows)

    async def markets(self, series_ticker: str, status: MarketFilter | None = MarketFilter.OPEN) -> Listings:
        """The markets of a series, of all its events."""
        request = {"series_ticker": _checked(series_ticker), **_status(status)}
        async with self._call(f"markets of {series_ticker}"):
            rows = await self._rows(self._exchange.kalshiPublicGetMarkets, "markets", request)
            return wire.read_listings(rows, series_ticker)

    async def historical_markets(self, series_ticker: str) -> Listings:
        """The markets of a series that were settled before the historical cutoff."""
        request = {"series_ticker": _checked(series_ticker)}
        async with self._call(f"historical markets of {series_ticker}"):
            rows = await self._rows(self._exchange.kalshiPublicGetHistoricalMarkets, "markets", request)
            return wire.read_listings(rows, series_ticker)

    async def market(self, ticker: str) -> Listing:
        """One market."""
        async with self._call(f"market {ticker}"):
            request = {"ticker": _checked(ticker)}
            return wire.read_market(await self._get(self._exchange.kalshiPublicGetMarketsTicker, request), ticker)

    async def markets_of(self, tickers: Iterable[str]) -> Listings:
        """Markets by ticker; those that the exchange leaves out are among the refused."""
        wanted = _distinct(tickers)
        async with self._call("markets"):
            rows: list[object] = []
            for chunk in _chunks(wanted):
                request = {"tickers": ",".join(chunk)}
                rows += await self._rows(self._exchange.kalshiPublicGetMarkets, "markets", request)
            found = wire.read_listings(rows)
            return Listings(
                tuple(one for one in found.listings if one.market.ticker in wanted),
                _with_missing(found.refused, wanted, {one.market.ticker for one in found.listings}),
            )

    async def order_book(self, ticker: str) -> Book:
        """The order book of one market, all levels."""
        async with self._call(f"order book of {ticker}"):
            request = {"ticker": _checked(ticker)}
            body = await self._get(self._exchange.kalshiPublicGetMarketsTickerOrderbook, request)
            return wire.read_book(body, ticker)

    async def order_books(self, tickers: Iterable[str]) -> Books:
        """Order books by ticker; those that the exchange leaves out are among the refused."""
        wanted = _distinct(tickers)
        async with self._call("order books"):
            rows: list[object] = []
            for chunk in _chunks(wanted):
                body = await self._get(self._exchange.kalshiPublicGetMarketsOrderbooks, {"tickers": chunk})
                rows += wire.read_page(body, "orderbooks")[0]
            found = wire.read_books(rows)
            return Books(
                tuple(book for book in found.books if book.ticker in wanted),
                _with_missing(found.refused, wanted, {book.ticker for book in found.books}),
            )

    async def _rows(
        self,
        endpoint: Callable[[dict[str, Any]], Awaitable[object]],
        key: str,
        request: dict[str, Any],
        rows_per_page: int = PAGE_ROWS,
    ) -> list[object]:
        """The rows of all pages. Raises MarketError for a cursor that comes again, and after `max_pages`."""
        rows: list[object] = []
        cursors: set[str] = set()
        paged = {**request, "limit": rows_per_page}
        for _ in range(self._settings.max_pages):
            page, cursor = wire.read_page(await self._get(endpoint, paged), key)
            rows += page
            if not cursor:
                return rows
            if cursor in cursors:
                raise MarketError(f"the cursor of page {len(cursors)} came again on page {len(cursors) + 1}")
            cursors.add(cursor)
            paged["cursor"] = cursor
        raise MarketError(f"more than {self._settings.max_pages} pages, {len(rows)} rows so far")

    async def _get(
        self, endpoint: Callable[[dict[str, Any]], Awaitable[object]], request: dict[str, Any] | None = None
    ) -> object:
        settings = self._settings
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(NetworkError),
            stop=stop_after_attempt(settings.attempts),
            wait=wait_random_exponential(settings.first_wait_seconds, settings.longest_wait_seconds),
            reraise=True,
        ):
            with attempt:
                body = await endpoint(dict(request or {}))
        if not isinstance(body, dict):
            received = repr(body[:60]) if isinstance(body, str) and body else "none"
            raise MarketError(f"expected a JSON object, received {received}")
        return body

    @asynccontextmanager
    async def _call(self, what: str) -> AsyncIterator[None]:
        """Limit the time of a call, and raise its errors as a MarketError that begins with `what`."""
        try:
            async with asyncio.timeout(self._settings.deadline_seconds):
                yield
        except MarketError as error:
            raise MarketError(f"{what}: {str(error).removeprefix(f'{what}: ')}") from None
        except TimeoutError as error:
            raise MarketError(f"{what}: no answer within {self._settings.deadline_seconds:g} s") from error
        except Exception as error:
            # ccxt raises errors of its own, and others for bodies of an unexpected form.
            message = single_line(str(error), MAX_MESSAGE_LENGTH)
            raise MarketError(f"{what}: {type(error).__name__}: {message}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked(ticker: str) -> str:
    """A ticker that can be part of an address. Raises MarketError."""
    if not re.fullmatch(TICKER, ticker):
        raise MarketError(f"ticker {ticker!r}: expected letters, digits, dots and hyphens")
    return ticker


def _distinct(tickers: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(_checked, tickers)))


def _chunks(tickers: Sequence[str]) -> list[list[str]]:
    return [list(tickers[i : i + TICKERS_PER_REQUEST]) for i in range(0, len(tickers), TICKERS_PER_REQUEST)]


def _status(status: MarketFilter | None) -> dict[str, str]:
    return {} if status is None else {"status": str(status)}


def _with_missing(refused: Sequence[Refused], wanted: Iterable[str], found: set[str]) -> tuple[Refused, ...]:
    known = found | {one.ticker for one in refused}
    return (*refused, *(Refused(ticker, "not in the exchange's answer") for ticker in wanted if ticker not in known))
