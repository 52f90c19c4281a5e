"""The web application: routes, security headers, and the data that all clients share.

It only reads: the probability files, and the database by the reader role. Without a database it serves the page and the
files; `/health` and the history report what is unavailable.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
import orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.domain.models.distribution import QUANTILES_PCT
from pipelines.domain.models.freshness import STALE_AFTER_SECONDS, UNWRITTEN_AFTER_SECONDS, age_text
from pipelines.domain.models.ladder import iso
from pipelines.domain.prices.decimals import price_text, strike_text
from pipelines.errors import DatabaseError
from pipelines.live.probability_reader import (
    MAX_FILE_BYTES,
    View,
    basis_text,
    clock_text,
    first_with_price,
    read_bytes,
    read_view,
    settlement_text,
    view_of,
)
from pipelines.live.probability_writer import probabilities_path
from pipelines.live.strike_table_reader import MAX_QUOTE_AGE_SECONDS, table_of
from pipelines.monitoring.audit.reports import Reports
from pipelines.storage.live.health_queries import DatabaseHealth, read_health, read_prices, with_timeouts
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.reading import ReadDatabase
from pipelines.web.connections import MAX_CONNECTIONS
from pipelines.web.desk import DeskEndpoints
from pipelines.web.health import health_report
from pipelines.web.past import PastEndpoints
from pipelines.web.replica import Aged, ReplicaCheck, read_aged
from pipelines.web.reports import REPORT_POLICY, ReportEndpoints
from pipelines.web.shared_reads import FileWatcher, SingleFlightCache
from pipelines.web.strike_tables import EMPTY_CARD, EMPTY_ROW, StrikeTableEndpoints, card, table_event
from pipelines.web.ticks import TickMetrics

#: `/health` responds within 2 s, whatever the database does; the page waits less for it.
HEALTH_TIMEOUT_SECONDS = 1.5
PAGE_TIMEOUT_SECONDS = 0.3
KEEP_ALIVE_SECONDS = 10
RECONNECT_MILLISECONDS = 1_000
#: Half of the connections, so that the others can be used for everything else.
MAX_STREAMS = MAX_CONNECTIONS // 2
#: Everything comes from this server. Nothing is cached, since it is outdated after a second.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = Path(__file__).parent
PAGE_GLOBALS = {
    "basis_text": basis_text,
    "price_text": price_text,
    "settlement_text": settlement_text,
    "strike_text": strike_text,
    "age_text": age_text,
    "clock_text": clock_text,
    "quantiles": QUANTILES_PCT,
    "stale_after": STALE_AFTER_SECONDS,
    "unwritten_after": UNWRITTEN_AFTER_SECONDS,
    "quote_limit": MAX_QUOTE_AGE_SECONDS,
    "empty_card": EMPTY_CARD,
    "empty_row": EMPTY_ROW,
}


class Endpoints:
    """The request handlers.

    `symbols` returns the configured ones, the only ones that are served; `clock`: the time, aware; `tables`: the strike
    tables, which the page and the events contain; `desk`, `ticks`: their gauges are among the metrics. The health of
    the session is read from `database`, and prices from `replica` if there is one.
    """

    def __init__(
        self,
        symbols: Callable[[], Sequence[str]],
        output_dir: Path,
        audit: Reports,
        database: Database,
        clock: Callable[[], datetime],
        tables: StrikeTableEndpoints,
        desk: DeskEndpoints,
        ticks: TickMetrics,
        replica: ReadDatabase | None = None,
    ) -> None:
        self._symbols = symbols
        self._tables = tables
        self._desk = desk
        self._ticks = ticks
        self._folder = output_dir
        self._audit = audit
        self._clock = clock
        self._watchers: dict[tuple[Path, ...], FileWatcher] = {}
        self._streams = 0
        self._database = with_timeouts(database)
        self._source: Database = self._database if replica is None else with_timeouts(replica)
        self._replica = ReplicaCheck(replica)
        self._health = SingleFlightCache(lambda: read_health(self._database, symbols()), fresh_seconds=0.5)
        self._histories: dict[str, SingleFlightCache[Aged[list[tuple[str, float]]]]] = {}
        self._page = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("page.html", globals=PAGE_GLOBALS)

    def close(self) -> None:
        """End all event streams."""
        for watcher in self._watchers.values():
            watcher.close()

    async def page(self, request: Request) -> Response:
        """The page of `?symbol=`, by default of the first symbol with a file, with the current values."""
        wanted = request.query_params.get("symbol") or first_with_price(self._folder, self._symbols(), self._clock())
        symbol = self._require_symbol(wanted)
        health = await self._health_report(PAGE_TIMEOUT_SECONDS)
        view = read_view(self._folder, symbol, self._clock())
        cards = [card(table, place) for place, table in enumerate(self._tables.views(symbol))]
        shown = [one for one in cards if one is not None]
        return HTMLResponse(self._page.render(view=view, symbols=self._symbols(), health=health, cards=shown))

    async def symbols(self, _: Request) -> Response:
        """Status and ages of each symbol."""
        return json_response(
            [
                {
                    "symbol": view.symbol,
                    "status": view.status,
                    "reasons": view.reasons,
                    "current_price": None if view.payload is None else view.payload["current_price"],
                    "file_age_seconds": view.file_age_seconds,
                    "price_age_seconds": view.price_age_seconds,
                    "notice": view.notice,
                    "strike_tables": [table.summary for table in self._tables.views(view.symbol)],
                }
                for view in await asyncio.to_thread(self._views)
            ]
        )

    async def ladder(self, request: Request) -> Response:
        """The symbol's file, unchanged."""
        symbol = self._require_symbol(request.path_params["symbol"])
        content = read_bytes(self._folder, symbol)
        if content is None:
            raise HTTPException(404, f"there is no file for {symbol} yet: `strikecast up` writes it")
        if len(content) > MAX_FILE_BYTES:
            raise HTTPException(503, f"the file of {symbol} is not a probability file: it is too large")
        return Response(content, media_type="application/json")

    async def history(self, request: Request) -> Response:
        """Prices of a symbol in the current hour, at most one per second: [[time, USD], ...], oldest first."""
        symbol = self._require_symbol(request.path_params["symbol"])
        try:
            history = self._histories.get(symbol)
            if history is None:
                read = partial(self._read_history, symbol)
                history = self._histories[symbol] = SingleFlightCache(read, fresh_seconds=1.0)
            found = await history.get(HEALTH_TIMEOUT_SECONDS)
            return json_response(found.value, headers=found.headers)
        except DatabaseError as error:
            raise HTTPException(503, str(error)) from error

    async def events(self, request: Request) -> Response:
        """Server-sent events: of each file at once, then of each new one, with the server's time of sending."""
        symbol = self._require_symbol(request.path_params["symbol"])
        if self._streams >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} event streams are open, which is the limit")
        return EventSourceResponse(self._events(symbol), ping=KEEP_ALIVE_SECONDS, sep="\n")

    async def health(self, _: Request) -> Response:
        """The health report; status 200 if healthy, else 503."""
        report = await self._health_report(HEALTH_TIMEOUT_SECONDS)
        return json_response(report, HTTPStatus.OK if report["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def audit(self, _: Request) -> Response:
        """The page of the newest audit."""
        return HTMLResponse(_read_report(self._audit.page), headers={"content-security-policy": REPORT_POLICY})

    async def metrics(self, _: Request) -> Response:
        """The newest audit's measurements, and the gauges of ticks, desk and replica, in Prometheus' text format."""
        gauges = b"".join(
            await asyncio.gather(
                self._ticks.metrics(), self._desk.metrics(), self._replica.metrics(HEALTH_TIMEOUT_SECONDS)
            )
        )
        try:
            audit = _read_report(self._audit.metrics)
        except HTTPException:
            if not gauges:
                raise
            audit = b""
        return Response(audit + gauges, media_type=METRICS_TYPE)

    async def _events(self, symbol: str) -> AsyncIterator[ServerSentEvent]:
        names = {name.path(self._folder): (name, place) for place, name in enumerate(self._tables.names(symbol))}
        paths = (probabilities_path(self._folder, symbol), *names)
        watcher = self._watchers.setdefault(paths, FileWatcher(*paths))
        self._streams += 1
        try:
            async with aclosing(watcher.contents()) as contents:
                async for path, content in contents:
                    now = self._clock()
                    if path in names:
                        name, place = names[path]
                        kind, data = "strike_table", table_event(table_of(name, content, now), place, now)
                    else:
                        kind, data = "ladder", _ladder_event(view_of(symbol, content, now), now)
                    yield ServerSentEvent(data=orjson.dumps(data).decode(), event=kind, retry=RECONNECT_MILLISECONDS)
        finally:
            self._streams -= 1

    async def _health_report(self, timeout_seconds: float) -> dict[str, Any]:
        # Views in a thread: reading the files of 200 symbols takes a tenth of a second, for which streams do not wait.
        views, database, replica = await asyncio.gather(
            asyncio.to_thread(self._views),
            self._database_health(timeout_seconds),
            self._replica.report(timeout_seconds),
        )
        return health_report(views, database, self._clock(), self._tables.all_views(), replica)

    async def _database_health(self, timeout_seconds: float) -> DatabaseHealth | DatabaseError:
        try:
            return await self._health.get(timeout_seconds)
        except DatabaseError as error:
            return error

    def _views(self) -> list[View]:
        now = self._clock()
        return [read_view(self._folder, symbol, now) for symbol in self._symbols()]

    def _read_history(self, symbol: str) -> Aged[list[tuple[str, float]]]:
        now = self._clock()
        start = now.replace(minute=0, second=0, microsecond=0)
        return read_aged(
            self._source,
            lambda database: [(iso(at), price) for at, price in read_prices(database, symbol, start, now)],
        )

    def _require_symbol(self, symbol: str) -> str:
        """Raise 404 unless the symbol is configured."""
        symbols = self._symbols()
        if symbol not in symbols:
            raise HTTPException(404, f"there is no such symbol; there are {', '.join(symbols)}")
        return symbol


def create_app(
    endpoints: Endpoints,
    past: PastEndpoints,
    tables: StrikeTableEndpoints,
    desk: DeskEndpoints,
    reports: ReportEndpoints,
) -> Starlette:
    """The ASGI application with these endpoints."""
    return Starlette(
        routes=[
            Route("/", endpoints.page),
            Route("/desk", desk.page),
            Route("/api/desk", desk.account),
            Route("/api/desk/equity", desk.equity),
            Route("/api/desk/trades", desk.trades),
            Route("/health", endpoints.health),
            Route("/audit", endpoints.audit),
            Route("/reports", reports.listed),
            Route("/reports/{name:path}", reports.report),
            Route("/metrics", endpoints.metrics),
            Route("/api/symbols", endpoints.symbols),
            Route("/api/{symbol}", endpoints.ladder),
            Route("/api/{symbol}/history", endpoints.history),
            Route("/api/{symbol}/strike-table", tables.table),
            Route("/api/{symbol}/strike-table/{series}", tables.table),
            Route("/api/{symbol}/past", past.ladder),
            Route("/api/{symbol}/answers.csv", past.answers),
            Route("/events/{symbol}", endpoints.events),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: _error_response},
    )


class SecurityHeaders:
    """Adds HEADERS to every response, except those that it sets itself.

    Plain ASGI: Starlette's base class would delay the end of streams.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _ladder_event(view: View, now: datetime) -> dict[str, Any]:
    """The data of a server-sent event of the probability file."""
    data = {"at": iso(now), "symbol": view.symbol, "status": view.status, "reasons": view.reasons}
    return {**data, "payload": view.payload, "notice": view.notice}


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response


def _read_report(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise HTTPException(
            404, "there is no audit yet: run `strikecast audit run`, or wait for the next hour's"
        ) from error
