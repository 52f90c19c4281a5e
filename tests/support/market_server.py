"""A local server with the public API of the exchange of markets, in its documented shapes, and with injected faults."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web
from exchange_server import Fault
from waiting import TIMEOUT_SECONDS

from pipelines.markets.client import ClientSettings

#: Limits of the exchange for one request of candles.
MARKETS_PER_REQUEST, CANDLES_PER_REQUEST = 100, 10_000
PREFIX = "/trade-api/v2"


def trading(**changes: Any) -> dict[str, Any]:
    """The status of an exchange that trades, except in one section."""
    sections = [{"exchange_index": 2, "description": "Crypto", "exchange_active": True, "trading_active": False}]
    return {"exchange_active": True, "trading_active": True, "exchange_index_statuses": sections, **changes}


@dataclass
class MarketServer:
    """State of the server. `faults`: responses to the next requests in place of the normal ones, by path."""

    events: list[dict[str, Any]] = field(default_factory=list)
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    fee_changes: list[dict[str, Any]] = field(default_factory=list)
    #: Candles by ticker.
    candles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    rows_per_page: int = 2
    #: The cursor of each page, whatever was asked; None: a right one.
    stuck_cursor: str | None = None
    #: Whether each page has a new cursor, for ever.
    endless: bool = False
    url: str = ""
    #: A request that names one of these tickers is refused whole.
    refused_tickers: set[str] = field(default_factory=set)
    #: Where the historical part of the API begins.
    cutoff: str = "2025-03-21T00:00:00Z"
    #: Answer of `exchange/status`.
    status: dict[str, Any] = field(default_factory=trading)
    #: The exchange's clock, in the header of its answers; None: the clock of this machine.
    clock: Callable[[], datetime] | None = None

    def fail(self, path: str, *faults: Fault) -> None:
        """Respond to the next requests of a path with faults."""
        self.faults.setdefault(f"{PREFIX}{path}", deque()).extend(faults)

    def settings(self, **changes: Any) -> ClientSettings:
        """Settings of a client of this server."""
        quick = {"first_wait_seconds": 0.001, "longest_wait_seconds": 0.01, "requests_per_second": 1000.0}
        return ClientSettings(**{"base_url": f"{self.url}{PREFIX}", **quick, **changes})

    def markets(self) -> list[dict[str, Any]]:
        return [market for event in self.events for market in event["markets"]]

    def candles_of(self, ticker: str, request: web.Request) -> list[dict[str, Any]]:
        """The candles that end within the range asked for."""
        first, last = int(request.query["start_ts"]), int(request.query["end_ts"])
        return [one for one in self.candles[ticker] if first <= one["end_period_ts"] <= last]

    def page(self, request: web.Request, key: str, rows: list[Any]) -> web.Response:
        """A page of rows; the cursor is the number of the next row."""
        start = 0 if self.endless else int(request.query.get("cursor") or 0) if self.stuck_cursor is None else 0
        size = min(self.rows_per_page, int(request.query.get("limit", 100)))
        cursor = str(start + size) if start + size < len(rows) else ""
        if self.endless:
            cursor = str(len(self.requests))
        return web.json_response({key: rows[start : start + size], "cursor": self.stuck_cursor or cursor})


def chosen(row: dict[str, Any], query: Mapping[str, str]) -> bool:
    """Whether a market is among those asked for."""
    closes_at = datetime.fromisoformat(row["close_time"]).timestamp()
    return (
        ("tickers" not in query or row["ticker"] in query["tickers"].split(","))
        and ("series_ticker" not in query or row["ticker"].startswith(f"{query['series_ticker']}-"))
        and ("min_close_ts" not in query or closes_at >= int(query["min_close_ts"]))
        and ("max_close_ts" not in query or closes_at <= int(query["max_close_ts"]))
    )


def not_found() -> web.Response:
    return web.json_response({"error": {"code": "not_found", "message": "not found"}}, status=404)


def application(server: MarketServer) -> web.Application:
    routes = web.RouteTableDef()

    @web.middleware
    async def faulty(request: web.Request, handler: Any) -> web.StreamResponse:
        server.requests.append(request.path_qs)
        if faults := server.faults.get(request.path):
            handler = faults.popleft()
        found: web.StreamResponse = await handler(request)
        if server.clock is not None:
            found.headers["Date"] = f"{server.clock():%a, %d %b %Y %H:%M:%S} GMT"
        return found

    @routes.get(f"{PREFIX}/exchange/status")
    async def exchange_status(_: web.Request) -> web.Response:
        return web.json_response(server.status)

    @routes.get(f"{PREFIX}/historical/cutoff")
    async def cutoff(_: web.Request) -> web.Response:
        names = ("market_settled_ts", "orders_updated_ts", "trades_created_ts")
        return web.json_response(dict.fromkeys(names, server.cutoff))

    @routes.get(f"{PREFIX}/historical/markets")
    @routes.get(f"{PREFIX}/markets")
    async def markets(request: web.Request) -> web.Response:
        if server.refused_tickers & set(request.query.get("tickers", "").split(",")):
            return web.json_response({"error": {"code": "bad_request", "message": "bad request"}}, status=400)
        rows = [row for row in server.markets() if chosen(row, request.query)]
        return server.page(request, "markets", rows)

    @routes.get(f"{PREFIX}/markets/orderbooks")
    async def books(request: web.Request) -> web.Response:
        wanted = request.query.getall("tickers")
        rows = [{"ticker": name, **book} for name, book in server.books.items() if name in wanted]
        return web.json_response({"orderbooks": rows})

    @routes.get(f"{PREFIX}/markets/candlesticks")
    async def candles(request: web.Request) -> web.Response:
        wanted = request.query["market_tickers"].split(",")
        rows = [(name, server.candles_of(name, request)) for name in wanted if name in server.candles]
        if len(wanted) > MARKETS_PER_REQUEST or sum(len(found) for _, found in rows) > CANDLES_PER_REQUEST:
            return web.json_response({"error": {"code": "bad_request", "message": "too many"}}, status=400)
        return web.json_response({"markets": [{"market_ticker": name, "candlesticks": found} for name, found in rows]})

    @routes.get(f"{PREFIX}/series/{{series}}/markets/{{ticker}}/candlesticks")
    @routes.get(f"{PREFIX}/historical/markets/{{ticker}}/candlesticks")
    async def own_candles(request: web.Request) -> web.Response:
        ticker = request.match_info["ticker"]
        if ticker not in server.candles:
            return not_found()
        return web.json_response({"ticker": ticker, "candlesticks": server.candles_of(ticker, request)})

    @routes.get(f"{PREFIX}/markets/{{ticker}}")
    async def market(request: web.Request) -> web.Response:
        found = [row for row in server.markets() if row["ticker"] == request.match_info["ticker"]]
        return web.json_response({"market": found[0]}) if found else not_found()

    @routes.get(f"{PREFIX}/markets/{{ticker}}/orderbook")
    async def book(request: web.Request) -> web.Response:
        found = server.books.get(request.match_info["ticker"])
        return web.json_response(found) if found else not_found()

    @routes.get(f"{PREFIX}/events")
    async def events(request: web.Request) -> web.Response:
        series = request.query.get("series_ticker")
        closes = {name: value for name, value in request.query.items() if name == "min_close_ts"}
        found = [
            one
            for one in server.events
            if one["series_ticker"] == series
            and (not closes or any(chosen(market, closes) for market in one["markets"]))
        ]
        is_nested = request.query["with_nested_markets"] == "true"
        return server.page(request, "events", found if is_nested else [{**one, "markets": None} for one in found])

    @routes.get(f"{PREFIX}/events/{{ticker}}")
    async def event(request: web.Request) -> web.Response:
        found = [one for one in server.events if one["event_ticker"] == request.match_info["ticker"]]
        return web.json_response({"event": found[0], "markets": []}) if found else not_found()

    @routes.get(f"{PREFIX}/series/fee_changes")
    async def fee_changes(_: web.Request) -> web.Response:
        return web.json_response({"series_fee_change_arr": server.fee_changes})

    @routes.get(f"{PREFIX}/series/{{ticker}}")
    async def series(request: web.Request) -> web.Response:
        found = server.series.get(request.match_info["ticker"])
        return web.json_response({"series": found}) if found else not_found()

    app = web.Application(middlewares=[faulty])
    app.add_routes(routes)
    return app


@asynccontextmanager
async def serving(server: MarketServer) -> AsyncIterator[MarketServer]:
    """Serve on a free port in the running event loop."""
    runner = web.AppRunner(application(server), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@contextmanager
def serving_in_thread(server: MarketServer) -> Iterator[MarketServer]:
    """Serve from a thread, for code that runs an event loop of its own."""
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with serving(server):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
    thread.start()
    try:
        assert ready.wait(TIMEOUT_SECONDS), "the server does not start"
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(TIMEOUT_SECONDS)
        loop.close()
