"""The web application: routes, security headers, and the data that all clients share.

It only reads: the probability files, and the database by the reader role. Without a database it serves the page and the
files; `/health` and the history report what is unavailable.
"""

from collections.abc import AsyncIterator, Callable, Sequence
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
from pipelines.monitoring.audit.reports import Reports
from pipelines.storage.live.health_queries import DatabaseHealth, read_health, read_prices, with_timeouts
from pipelines.storage.postgres.connection import Database
from pipelines.web.connections import MAX_CONNECTIONS
from pipelines.web.health import health_report
from pipelines.web.past import PastEndpoints
from pipelines.web.shared_reads import FileWatcher, SingleFlightCache

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
#: An audit's page is one file that contains its styles.
AUDIT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
}


class Endpoints:
    """The request handlers.

    `symbols` returns the configured ones, the only ones that are served; `clock`: the time, aware.
    """

    def __init__(
        self,
        symbols: Callable[[], Sequence[str]],
        output_dir: Path,
        audit: Reports,
        database: Database,
        clock: Callable[[], datetime],
    ) -> None:
        self._symbols = symbols
        self._folder = output_dir
        self._audit = audit
        self._clock = clock
        self._watchers: dict[str, FileWatcher] = {}
        self._streams = 0
        self._database = with_timeouts(database)
        self._health = SingleFlightCache(lambda: read_health(self._database, symbols()), fresh_seconds=0.5)
        self._histories: dict[str, SingleFlightCache[list[tuple[str, float]]]] = {}
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
        return HTMLResponse(self._page.render(view=view, symbols=self._symbols(), health=health))

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
                }
                for view in self._views()
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
            return json_response(await history.get(HEALTH_TIMEOUT_SECONDS))
        except DatabaseError as error:
            raise HTTPException(503, str(error)) from error

    async def events(self, request: Request) -> Response:
        """Server-sent events: one at once, then one for each new file, with the server's time of sending."""
        symbol = self._require_symbol(request.path_params["symbol"])
        if self._streams >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} event streams are open, which is the limit")
        return EventSourceResponse(self._ladder_events(symbol), ping=KEEP_ALIVE_SECONDS, sep="\n")

    async def health(self, _: Request) -> Response:
        """The health report; status 200 if healthy, else 503."""
        report = await self._health_report(HEALTH_TIMEOUT_SECONDS)
        return json_response(report, HTTPStatus.OK if report["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def audit(self, _: Request) -> Response:
        """The page of the newest audit."""
        return HTMLResponse(_read_report(self._audit.page), headers={"content-security-policy": AUDIT_POLICY})

    async def metrics(self, _: Request) -> Response:
        """The measurements of the newest audit in Prometheus' text format."""
        return Response(_read_report(self._audit.metrics), media_type=METRICS_TYPE)

    async def _ladder_events(self, symbol: str) -> AsyncIterator[ServerSentEvent]:
        watcher = self._watchers.setdefault(symbol, FileWatcher(probabilities_path(self._folder, symbol)))
        self._streams += 1
        try:
            async with aclosing(watcher.contents()) as contents:
                async for content in contents:
                    now = self._clock()
                    view = view_of(symbol, content, now)
                    data = {"at": iso(now), "symbol": symbol, "status": view.status, "reasons": view.reasons}
                    event = orjson.dumps({**data, "payload": view.payload, "notice": view.notice}).decode()
                    yield ServerSentEvent(data=event, event="ladder", retry=RECONNECT_MILLISECONDS)
        finally:
            self._streams -= 1

    async def _health_report(self, timeout_seconds: float) -> dict[str, Any]:
        database: DatabaseHealth | DatabaseError
        try:
            database = await self._health.get(timeout_seconds)
        except DatabaseError as error:
            database = error
        return health_report(self._views(), database, self._clock())

    def _views(self) -> list[View]:
        now = self._clock()
        return [read_view(self._folder, symbol, now) for symbol in self._symbols()]

    def _read_history(self, symbol: str) -> list[tuple[str, float]]:
        now = self._clock()
        start = now.replace(minute=0, second=0, microsecond=0)
        return [(iso(at), price) for at, price in read_prices(self._database, symbol, start, now)]

    def _require_symbol(self, symbol: str) -> str:
        """Raise 404 unless the symbol is configured."""
        symbols = self._symbols()
        if symbol not in symbols:
            raise HTTPException(404, f"there is no such symbol; there are {', '.join(symbols)}")
        return symbol


def create_app(endpoints: Endpoints, past: PastEndpoints) -> Starlette:
    """The ASGI application with these endpoints."""
    return Starlette(
        routes=[
            Route("/", endpoints.page),
            Route("/health", endpoints.health),
            Route("/audit", endpoints.audit),
            Route("/metrics", endpoints.metrics),
            Route("/api/symbols", endpoints.symbols),
            Route("/api/{symbol}", endpoints.ladder),
            Route("/api/{symbol}/history", endpoints.history),
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


def json_response(content: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, media_type="application/json")


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
