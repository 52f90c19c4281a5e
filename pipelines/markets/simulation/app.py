"""The endpoints of the exchange's public API that strikecast uses, answered by a simulated exchange."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.markets.settlement import MS_PER_SECOND
from pipelines.domain.prices.ticks import milliseconds_of
from pipelines.markets.address import API_PATH, LOCAL_HOST
from pipelines.markets.simulation import messages
from pipelines.markets.simulation.candle_endpoints import MOST_TICKERS, CandleEndpoints
from pipelines.markets.simulation.engine import RETAINED, SimulatedExchange
from pipelines.markets.simulation.events import MarketState, SimulatedEvent
from pipelines.markets.simulation.messages import Message
from pipelines.markets.simulation.responses import is_true, not_found, number_of, page_of, refused, respond

#: Rows of a page at most.
MARKET_ROWS, EVENT_ROWS = 1_000, 200
#: Seconds since 1970 of a close at most.
LATEST = 10**12
#: Statuses of markets by their names in requests.
FILTERS = {
    "unopened": {MarketStatus.INITIALIZED},
    "open": {MarketStatus.ACTIVE},
    "paused": {MarketStatus.INACTIVE},
    "closed": {MarketStatus.CLOSED, MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED},
    "settled": {MarketStatus.FINALIZED},
}


class Endpoints:
    """The request handlers. `clock`: the exchange's time (aware UTC), which is in the responses too."""

    def __init__(self, exchange: SimulatedExchange, clock: Callable[[], datetime]) -> None:
        self._exchange = exchange
        self._clock = clock

    async def status(self, _: Request) -> Response:
        """Whether the exchange trades."""
        now = self._clock()
        return self._respond(messages.exchange_status(is_trading=self._exchange.why_not_trading(now) is None))

    async def series(self, request: Request) -> Response:
        """One series."""
        series = self._exchange.series.get(request.path_params["series"])
        if series is None:
            raise not_found("series")
        return self._respond({"series": messages.series_message(series, self._clock())})

    async def fee_changes(self, request: Request) -> Response:
        """Announced changes of fee terms, of one series or of all."""
        wanted = request.query_params.get("series_ticker")
        series = [one for one in self._exchange.series.values() if wanted in (None, one.ticker)]
        return self._respond({"series_fee_change_arr": messages.fee_changes(series, self._clock())})

    async def events(self, request: Request) -> Response:
        """Events by series, status and close."""
        now, query = self._clock(), request.query_params
        least = number_of(query, "min_close_ts", 0, 0, LATEST) * MS_PER_SECOND
        found = [event for event in self._events(now, query) if event.close_ms(milliseconds_of(now)) >= least]
        if (status := query.get("status")) is not None:
            allowed = _statuses(status)
            found = [event for event in found if event.status(milliseconds_of(now)) in allowed]
        rows, cursor = page_of(found, query, EVENT_ROWS, lambda event: event.ticker)
        nested = is_true(query, "with_nested_markets")
        answer = [
            messages.event_message(event, self._exchange.states(event, now) if nested else None) for event in rows
        ]
        return self._respond({"events": answer, "cursor": cursor})

    async def event(self, request: Request) -> Response:
        """One event with its markets, inside it or beside it."""
        now = self._clock()
        event = self._exchange.event(request.path_params["event"], now)
        if event is None:
            raise not_found("event")
        states = self._exchange.states(event, now)
        if is_true(request.query_params, "with_nested_markets"):
            return self._respond({"event": messages.event_message(event, states)})
        markets = [messages.market_message(state, event) for state in states]
        return self._respond({"event": messages.event_message(event, None), "markets": markets})

    async def markets(self, request: Request) -> Response:
        """Markets by ticker, event, series, status and close."""
        now, query = self._clock(), request.query_params
        now_ms = milliseconds_of(now)
        if "tickers" in query:
            found = self._by_ticker(query["tickers"].split(","), now)
        else:
            found = [(event, number) for event in self._events(now, query) for number in range(len(event.markets))]
        if (status := query.get("status")) is not None:
            allowed = _statuses(status)
            found = [(event, number) for event, number in found if event.market_status(number, now_ms) in allowed]
        least = number_of(query, "min_close_ts", 0, 0, LATEST) * MS_PER_SECOND
        most = number_of(query, "max_close_ts", LATEST, 0, LATEST) * MS_PER_SECOND
        found = [row for row in found if least <= row[0].close_ms(now_ms) <= most]
        rows, cursor = page_of(found, query, MARKET_ROWS, lambda row: row[0].markets[row[1]].ticker)
        answer = [messages.market_message(self._state(*row, now), row[0]) for row in rows]
        return self._respond({"markets": answer, "cursor": cursor})

    async def historical_markets(self, _: Request) -> Response:
        """Markets settled before the cutoff: none."""
        return self._respond({"markets": [], "cursor": ""})

    async def market(self, request: Request) -> Response:
        """One market."""
        event, number, now = self._one(request)
        return self._respond({"market": messages.market_message(self._state(event, number, now), event)})

    async def order_book(self, request: Request) -> Response:
        """The order book of one market, or its best levels."""
        depth = number_of(request.query_params, "depth", 0, 0, 100)
        return self._respond(messages.book_message(self._state(*self._one(request)), depth))

    async def order_books(self, request: Request) -> Response:
        """Order books by ticker; unknown tickers are left out."""
        now = self._clock()
        states = [self._state(*row, now) for row in self._by_ticker(request.query_params.getlist("tickers"), now)]
        rows = [{"ticker": state.market.ticker, **messages.book_message(state)} for state in states]
        return self._respond({"orderbooks": rows})

    async def cutoff(self, _: Request) -> Response:
        """Where the historical part of the API begins."""
        return self._respond(messages.cutoff_message(self._clock() - RETAINED))

    def _events(self, now: datetime, query: Mapping[str, str]) -> list[SimulatedEvent]:
        if (ticker := query.get("event_ticker")) is not None:
            event = self._exchange.event(ticker, now)
            return [] if event is None else [event]
        return self._exchange.events(now, query.get("series_ticker"))

    def _by_ticker(self, tickers: Iterable[str], now: datetime) -> list[tuple[SimulatedEvent, int]]:
        wanted = list(dict.fromkeys(tickers))
        if len(wanted) > MOST_TICKERS:
            raise refused(f"{len(wanted)} tickers, at most {MOST_TICKERS} are permitted")
        found = [(ticker, self._exchange.event(ticker.rpartition("-")[0], now)) for ticker in wanted]
        return [
            (event, event.numbers[ticker]) for ticker, event in found if event is not None and ticker in event.numbers
        ]

    def _one(self, request: Request) -> tuple[SimulatedEvent, int, datetime]:
        now = self._clock()
        found = self._by_ticker([request.path_params["market"]], now)
        if not found:
            raise not_found("market")
        return (*found[0], now)

    def _state(self, event: SimulatedEvent, number: int, now: datetime) -> MarketState:
        return self._exchange.states(event, now, [number])[0]

    def _respond(self, body: Message, status: int = 200) -> Response:
        return respond(body, self._clock(), status)

    async def failed(self, _: Request, error: Exception) -> Response:
        """An error in the exchange's shape."""
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 400: "invalid_parameters"}.get(error.status_code, "error")
        return self._respond({"error": {"code": code, "message": error.detail}}, error.status_code)


def create_app(exchange: SimulatedExchange, clock: Callable[[], datetime]) -> Starlette:
    """The web application; it answers only requests to this machine by its local names."""
    endpoints, candles = Endpoints(exchange, clock), CandleEndpoints(exchange, clock)
    handlers = {
        "/exchange/status": endpoints.status,
        "/series/fee_changes": endpoints.fee_changes,
        "/series/{series}": endpoints.series,
        "/series/{series}/markets/{market}/candlesticks": candles.of_market,
        "/events": endpoints.events,
        "/events/{event}": endpoints.event,
        "/markets": endpoints.markets,
        "/markets/orderbooks": endpoints.order_books,
        "/markets/candlesticks": candles.of_markets,
        "/markets/{market}": endpoints.market,
        "/markets/{market}/orderbook": endpoints.order_book,
        "/historical/cutoff": endpoints.cutoff,
        "/historical/markets": endpoints.historical_markets,
    }
    return Starlette(
        routes=[Route(f"{API_PATH}{path}", handler) for path, handler in handlers.items()],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOCAL_HOST, "localhost"])],
        exception_handlers={HTTPException: endpoints.failed},
    )


def _statuses(names: str) -> set[MarketStatus]:
    unknown = [name for name in names.split(",") if name not in FILTERS]
    if unknown:
        raise refused(f"status {unknown[0]!r}: expected {', '.join(FILTERS)}")
    return {status for name in names.split(",") for status in FILTERS[name]}
