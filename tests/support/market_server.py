"""A local server with the public API of the exchange of markets, in its documented shapes, and with injected faults."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from exchange_server import Fault

from pipelines.markets.client import ClientSettings

PREFIX = "/trade-api/v2"


@dataclass
class MarketServer:
    """State of the server. `faults`: responses to the next requests in place of the normal ones, by path."""

    events: list[dict[str, Any]] = field(default_factory=list)
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    fee_changes: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    rows_per_page: int = 2
    #: The cursor of each page, whatever was asked; None: a right one.
    stuck_cursor: str | None = None
    #: Whether each page has a new cursor, for ever.
    endless: bool = False
    url: str = ""

    def fail(self, path: str, *faults: Fault) -> None:
        """Respond to the next requests of a path with faults."""
        self.faults.setdefault(f"{PREFIX}{path}", deque()).extend(faults)

    def settings(self, **changes: Any) -> ClientSettings:
        """Settings of a client of this server."""
        quick = {"first_wait_seconds": 0.001, "longest_wait_seconds": 0.01, "requests_per_second": 1000.0}
        return ClientSettings(**{"base_url": f"{self.url}{PREFIX}", **quick, **changes})

    def markets(self) -> list[dict[str, Any]]:
        return [market for event in self.events for market in event["markets"]]

    def page(self, request: web.Request, key: str, rows: list[Any]) -> web.Response:
        """A page of rows; the cursor is the number of the next row."""
        start = 0 if self.endless else int(request.query.get("cursor") or 0) if self.stuck_cursor is None else 0
        size = min(self.rows_per_page, int(request.query.get("limit", 100)))
        cursor = str(start + size) if start + size < len(rows) else ""
        if self.endless:
            cursor = str(len(self.requests))
        return web.json_response({key: rows[start : start + size], "cursor": self.stuck_cursor or cursor})


def not_found() -> web.Response:
    return web.json_response({"error": {"code": "not_found", "message": "not found"}}, status=404)


def application(server: MarketServer) -> web.Application:
    routes = web.RouteTableDef()

    @web.middleware
    async def faulty(request: web.Request, handler: Any) -> web.StreamResponse:
        server.requests.append(request.path_qs)
        if faults := server.faults.get(request.path):
            response: web.StreamResponse = await faults.popleft()(request)
            return response
        found: web.StreamResponse = await handler(request)
        return found

    @routes.get(f"{PREFIX}/exchange/status")
    async def exchange_status(_: web.Request) -> web.Response:
        sections = [{"exchange_index": 2, "description": "Crypto", "exchange_active": True, "trading_active": False}]
        return web.json_response({"exchange_active": True, "trading_active": True, "exchange_index_statuses": sections})

    @routes.get(f"{PREFIX}/historical/cutoff")
    async def cutoff(_: web.Request) -> web.Response:
        names = ("market_settled_ts", "orders_updated_ts", "trades_created_ts")
        return web.json_response(dict.fromkeys(names, "2025-03-21T00:00:00Z"))

    @routes.get(f"{PREFIX}/historical/markets")
    @routes.get(f"{PREFIX}/markets")
    async def markets(request: web.Request) -> web.Response:
        wanted = request.query.get("tickers", "").split(",") if "tickers" in request.query else None
        rows = [row for row in server.markets() if wanted is None or row["ticker"] in wanted]
        return server.page(request, "markets", rows)

    @routes.get(f"{PREFIX}/markets/orderbooks")
    async def books(request: web.Request) -> web.Response:
        wanted = request.query.getall("tickers")
        rows = [{"ticker": name, **book} for name, book in server.books.items() if name in wanted]
        return web.json_response({"orderbooks": rows})

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
        return server.page(request, "events", server.events)

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
