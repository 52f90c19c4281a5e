"""Requests of the exchange's public API, which needs no key.

Only ccxt's methods of single endpoints are used: its parsed structures put the expiry a week late and drop strikes.
JSON is parsed without floats, because strikes are exact.

A request is repeated, with growing random waits, when the exchange limits the rate (it does not say how long to wait),
fails with a status of 500 or more, times out, or cannot be reached. All failures are raised as MarketError.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.books import Book
from pipelines.domain.markets.candles import MarketCandles, MinuteRange
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
from pipelines.markets.address import BASE_URL, SIMULATED_HEADER
from pipelines.markets.candle_messages import candle_requests, read_candles, read_candles_of
from pipelines.markets.ccxt_kalshi import errors, kalshi
from pipelines.markets.exchange_clock import ClockComparison
from pipelines.markets.rate_limit import RateLimit
from pipelines.markets.slices import finish_in_slices
from pipelines.markets.tickers import NOT_RECEIVED, checked, chunks, distinct

PAGE_ROWS = 1_000
MAX_MESSAGE_LENGTH = 200
#: ccxt takes most statuses for an outage; those from 400 to 499 are ours, except these.
TEMPORARY_STATUSES = {408: errors.RequestTimeout, 418: errors.RateLimitExceeded, 429: errors.RateLimitExceeded}
HTTP_ERRORS = (
    {str(status): errors.BadRequest for status in range(400, 500)}
    | {str(status): errors.ExchangeNotAvailable for status in range(500, 600)}
    | {str(status): error for status, error in TEMPORARY_STATUSES.items()}
)


def utc_now() -> datetime:
    """This machine's clock, aware UTC."""
    return datetime.now(UTC)


def is_temporary(error: MarketError) -> bool:
    """Whether the exchange was not reached, was too slow, limited the rate, or failed: not what was asked."""
    return isinstance(error.__cause__, errors.NetworkError | TimeoutError)


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
    permits 20 requests per second without a key. `source`: KALSHI refuses the answers of a simulated exchange.
    """

    base_url: str = BASE_URL
    timeout_seconds: float = 10.0
    deadline_seconds: float = 60.0
    requests_per_second: float = 10.0
    attempts: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 10.0
    max_pages: int = 50
    source: MarketSource = MarketSource.NONE


@dataclass(frozen=True)
class _Answer:
    """The body of a response, our clock at its arrival (aware UTC), and its number."""

    body: dict[str, object]
    received_at: datetime
    arrival: int


@dataclass(frozen=True)
class _Pages:
    """The rows of all pages, and the first answer."""

    rows: list[object]
    first: _Answer

    async def listings(self, series_ticker: str | None = None) -> Listings:
        return _stamped(await finish_in_slices(wire.reading_listings(self.rows, series_ticker)), self.first)


class MarketClient:
    """A client for the life of one event loop, used as an asynchronous context manager.

    `clock`: aware UTC, for `received_at` of listings. `exchange_clock`: the exchange's clock compared with it.
    """

    def __init__(self, settings: ClientSettings | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings or ClientSettings()
        self._clock = clock
        self._arrivals = count(1)
        self._limit = RateLimit(self._settings.requests_per_second)
        self.exchange_clock = ClockComparison()
        timeout_ms = int(self._settings.timeout_seconds * 1_000)
        self._exchange: Any = kalshi({"enableRateLimit": False, "timeout": timeout_ms})
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
            answer = await self._get(self._exchange.kalshiPublicGetExchangeStatus)
            return wire.read_exchange_status(answer.body)

    async def historical_cutoff(self) -> HistoricalCutoff:
        """Where `historical_markets` begins."""
        # ccxt has this endpoint under another path, which does not exist.
        endpoint = partial(self._exchange.request, "historical/cutoff", ["kalshi", "public"], "GET")
        async with self._call("historical cutoff"):
            return wire.read_historical_cutoff((await self._get(endpoint)).body)

    async def fee_schedule(self, series_ticker: str) -> FeeSchedule:
        """The fee terms of a series, and announced changes of them."""
        series = {"series_ticker": checked(series_ticker)}
        async with self._call(f"fees of {series_ticker}"):
            found = await self._get(self._exchange.kalshiPublicGetSeriesSeriesTicker, series)
            changes = await self._get(self._exchange.kalshiPublicGetSeriesFeeChanges, series)
            rows, _ = wire.read_page(changes.body, "series_fee_change_arr")
            return wire.read_fee_schedule(found.body, rows, series_ticker)

    async def event(self, ticker: str) -> Event:
        """One event with its markets."""
        request = {"event_ticker": checked(ticker), "with_nested_markets": True}
        async with self._call(f"event {ticker}"):
            answer = await self._get(self._exchange.kalshiPublicGetEventsEventTicker, request)
            event = await finish_in_slices(wire.reading_event(answer.body, ticker))
            return replace(event, markets=_stamped(event.markets, answer))

    async def events(
        self,
        series_ticker: str,
        status: MarketFilter | None = MarketFilter.OPEN,
        *,
        closing_after: datetime | None = None,
        with_markets: bool = True,
    ) -> tuple[tuple[Event, ...], tuple[Refused, ...]]:
        """The events of a series with their markets, and those refused; several are open at a time.

        `closing_after`: only those of which a market closes after an instant (aware).
        """
        request = {"series_ticker": checked(series_ticker), "with_nested_markets": with_markets, **_status(status)}
        if closing_after is not None:
            request["min_close_ts"] = int(closing_after.timestamp())
        async with self._call(f"events of {series_ticker}"):
            pages = await self._pages(self._exchange.kalshiPublicGetEvents, "events", request, rows_per_page=200)
            events, refused = await finish_in_slices(wire.reading_events(pages.rows))
            return tuple(replace(event, markets=_stamped(event.markets, pages.first)) for event in events), refused

    async def markets(
        self,
        series_ticker: str,
        status: MarketFilter | None = MarketFilter.OPEN,
        *,
        closing: tuple[datetime, datetime] | None = None,
    ) -> Listings:
        """The markets of a series, of all its events.

        `closing`: only those that close from the first to the second instant, both included; without `status`.
        """
        request = {"series_ticker": checked(series_ticker), **_status(status), **_closing(closing)}
        async with self._call(f"markets of {series_ticker}"):
            pages = await self._pages(self._exchange.kalshiPublicGetMarkets, "markets", request)
            return await pages.listings(series_ticker)

    async def historical_markets(self, series_ticker: str) -> Listings:
        """The markets of a series that were settled before the historical cutoff."""
        request = {"series_ticker": checked(series_ticker)}
        async with self._call(f"historical markets of {series_ticker}"):
            pages = await self._pages(self._exchange.kalshiPublicGetHistoricalMarkets, "markets", request)
            return await pages.listings(series_ticker)

    async def market(self, ticker: str) -> Listing:
        """One market."""
        async with self._call(f"market {ticker}"):
            request = {"ticker": checked(ticker)}
            answer = await self._get(self._exchange.kalshiPublicGetMarketsTicker, request)
            return wire.read_market(answer.body, ticker)

    async def markets_of(self, tickers: Iterable[str]) -> Listings:
        """Markets by ticker; those that the exchange leaves out are among the refused."""
        wanted = distinct(tickers)
        async with self._call("markets"):
            requests = [{"tickers": ",".join(chunk)} for chunk in chunks(wanted)]
            parts = [await self._pages(self._exchange.kalshiPublicGetMarkets, "markets", each) for each in requests]
            if not parts:
                return Listings(())
            rows = [row for part in parts for row in part.rows]
            found = await _Pages(rows, parts[0].first).listings()
            return replace(
                found,
                listings=tuple(one for one in found.listings if one.market.ticker in wanted),
                refused=_with_missing(found.refused, wanted, {one.market.ticker for one in found.listings}),
            )

    async def order_book(self, ticker: str) -> Book:
        """The order book of one market, all levels."""
        async with self._call(f"order book of {ticker}"):
            request = {"ticker": checked(ticker)}
            answer = await self._get(self._exchange.kalshiPublicGetMarketsTickerOrderbook, request)
            return wire.read_book(answer.body, ticker)

    async def order_books(self, tickers: Iterable[str]) -> Books:
        """Order books by ticker; those that the exchange leaves out are among the refused."""
        wanted = distinct(tickers)
        async with self._call("order books"):
            rows: list[object] = []
            for chunk in chunks(wanted):
                answer = await self._get(self._exchange.kalshiPublicGetMarketsOrderbooks, {"tickers": chunk})
                rows += wire.read_page(answer.body, "orderbooks")[0]
            found = wire.read_books(rows)
            return Books(
                tuple(book for book in found.books if book.ticker in wanted),
                _with_missing(found.refused, wanted, {book.ticker for book in found.books}),
            )

    async def candles(self, tickers: Iterable[str], minutes: MinuteRange) -> list[MarketCandles]:
        """Candles of each market, without those settled before the historical cutoff."""
        wanted = distinct(tickers)
        async with self._call("candles"):
            rows: list[object] = []
            for request in candle_requests(minutes, wanted):
                answer = await self._get(self._exchange.kalshiPublicGetMarketsCandlesticks, request)
                rows += wire.read_page(answer.body, "markets")[0]
            return read_candles(rows, wanted, minutes)

    async def candles_of(self, ticker: str, series_ticker: str | None, minutes: MinuteRange) -> MarketCandles:
        """Candles of one market of a series; without `series_ticker`, of one settled before the historical cutoff."""
        names = {"ticker": checked(ticker)}
        endpoint = self._exchange.kalshiPublicGetHistoricalMarketsTickerCandlesticks
        if series_ticker is not None:
            names["series_ticker"] = checked(series_ticker)
            endpoint = self._exchange.kalshiPublicGetSeriesSeriesTickerMarketsTickerCandlesticks
        async with self._call(f"candles of {ticker}"):
            answers = [await self._get(endpoint, {**names, **request}) for request in candle_requests(minutes)]
            return read_candles_of([answer.body for answer in answers], ticker, minutes)

    async def _pages(
        self,
        endpoint: Callable[[dict[str, Any]], Awaitable[object]],
        key: str,
        request: dict[str, Any],
        rows_per_page: int = PAGE_ROWS,
    ) -> _Pages:
        """The rows of all pages. Raises MarketError for a cursor that comes again, and after `max_pages`."""
        rows: list[object] = []
        cursors: set[str] = set()
        paged = {**request, "limit": rows_per_page}
        first = None
        for _ in range(self._settings.max_pages):
            answer = await self._get(endpoint, paged)
            first = first or answer
            page, cursor = wire.read_page(answer.body, key)
            rows += page
            if not cursor:
                return _Pages(rows, first)
            if cursor in cursors:
                raise MarketError(f"the cursor of page {len(cursors)} came again on page {len(cursors) + 1}")
            cursors.add(cursor)
            paged["cursor"] = cursor
        raise MarketError(f"more than {self._settings.max_pages} pages, {len(rows)} rows so far")

    async def _get(
        self, endpoint: Callable[[dict[str, Any]], Awaitable[object]], request: dict[str, Any] | None = None
    ) -> _Answer:
        settings = self._settings
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(errors.NetworkError),
            stop=stop_after_attempt(settings.attempts),
            wait=wait_random_exponential(settings.first_wait_seconds, settings.longest_wait_seconds),
            reraise=True,
        ):
            with attempt:
                await self._limit.wait()
                sent_at = self._clock()
                body = await endpoint(dict(request or {}))
        received_at = self._clock()
        headers = self._exchange.last_response_headers or {}
        if settings.source is MarketSource.KALSHI and any(name.lower() == SIMULATED_HEADER for name in headers):
            raise MarketError(f"the exchange at {settings.base_url} is simulated, but markets.source is kalshi")
        self.exchange_clock.add(sent_at, received_at, headers)
        if not isinstance(body, dict):
            received = repr(body[:60]) if isinstance(body, str) and body else "none"
            raise MarketError(f"expected a JSON object, received {received}")
        return _Answer(body, received_at, next(self._arrivals))

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


def _stamped(listings: Listings, answer: _Answer) -> Listings:
    return replace(listings, received_at=answer.received_at, arrival=answer.arrival)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _status(status: MarketFilter | None) -> dict[str, str]:
    return {} if status is None else {"status": str(status)}


def _closing(closing: tuple[datetime, datetime] | None) -> dict[str, int]:
    if closing is None:
        return {}
    return {"min_close_ts": int(closing[0].timestamp()), "max_close_ts": int(closing[1].timestamp())}


def _with_missing(refused: Sequence[Refused], wanted: Iterable[str], found: set[str]) -> tuple[Refused, ...]:
    known = found | {one.ticker for one in refused}
    return (*refused, *(Refused(ticker, NOT_RECEIVED) for ticker in wanted if ticker not in known))
