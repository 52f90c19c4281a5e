"""The application: routes, security headers, one source of everything that its clients share.

It only reads: the files, and as the reader role what the database knows. Without a database the page and the endpoints
of the files go on; `/health` and the history say what is missing.
"""

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

from pipelines.errors import DatabaseError
from pipelines.live.file_reader import (
    STALE_AFTER_SECONDS,
    UNWRITTEN_AFTER_SECONDS,
    age_text,
    clock_text,
    first_with_file,
    read_bytes,
    read_view,
    view_of,
)
from pipelines.live.file_writer import probabilities_path
from pipelines.monitoring.audit.report_files import Reports
from pipelines.storage.live.health_queries import DatabaseHealth, read_health, read_prices, with_timeouts
from pipelines.storage.postgres.connection import Database
from pipelines.web.health import health_report
from pipelines.web.single_flight import FileWatcher, SingleFlightCache

#: `/health` answers within 2 s, whatever the database does; the page does not wait that long for it.
HEALTH_PATIENCE_SECONDS = 1.5
PAGE_PATIENCE_SECONDS = 0.3
KEEP_ALIVE_SECONDS = 10
RECONNECT_MILLISECONDS = 1_000
#: Everything comes from this server, and nothing is kept: it is outdated after a second.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
#: An audit's page is one file: its styles are in it.
AUDIT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = Path(__file__).parent


class Pages:
    """The endpoints. `clock` tells the time, aware; `symbols`: those configured, the only ones that are ever read."""

    def __init__(
        self,
        symbols: Sequence[str],
        output_dir: Path,
        audit: Reports,
        database: Database,
        clock: Callable[[], datetime],
    ) -> None:
        self._symbols = list(symbols)
        self._folder = output_dir
        self._audit = audit
        self._clock = clock
        self._feeds = {symbol: FileWatcher(probabilities_path(output_dir, symbol)) for symbol in symbols}
        hasty = with_timeouts(database)
        self._found = SingleFlightCache(partial(read_health, hasty, self._symbols), fresh_seconds=0.5)
        self._hours = {
            symbol: SingleFlightCache(partial(self._read_hour, hasty, symbol), fresh_seconds=1.0) for symbol in symbols
        }
        self._page = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("page.html")

    def close(self) -> None:
        """End all streams of events."""
        for feed in self._feeds.values():
            feed.close()

    async def page(self, request: Request) -> Response:
        """The page of `?symbol=`, by default of the first symbol that has a file, with the values of this moment."""
        asked = request.query_params.get("symbol") or first_with_file(self._folder, self._symbols)
        symbol = self._known(asked)
        report = await self._report(PAGE_PATIENCE_SECONDS)
        return HTMLResponse(
            self._page.render(
                view=read_view(self._folder, symbol, self._clock()),
                symbols=self._symbols,
                health=report,
                age_text=age_text,
                clock_text=clock_text,
                stale_after=STALE_AFTER_SECONDS,
                unwritten_after=UNWRITTEN_AFTER_SECONDS,
            )
        )

    async def symbols(self, _: Request) -> Response:
        """Each symbol with its status and ages."""
        now = self._clock()
        views = [read_view(self._folder, symbol, now) for symbol in self._symbols]
        return json_response(
            [
                {
                    "symbol": view.symbol,
                    "status": view.status,
                    "reasons": view.reasons,
                    "current_price": None if view.payload is None else view.payload["current_price"],
                    "file_age_seconds": view.file_age_seconds,
                    "price_age_seconds": view.price_age_seconds,
                }
                for view in views
            ]
        )

    async def ladder(self, request: Request) -> Response:
        """The symbol's file as it is."""
        symbol = self._known(request.path_params["symbol"])
        content = read_bytes(self._folder, symbol)
        if content is None:
            raise HTTPException(404, f"there is no file for {symbol} yet: `strikecast up` writes it")
        return Response(content, media_type="application/json")

    async def history(self, request: Request) -> Response:
        """This hour's prices of a symbol, at most one per second: [[time, USD], ...], oldest first."""
        symbol = self._known(request.path_params["symbol"])
        try:
            prices = await self._hours[symbol].get(HEALTH_PATIENCE_SECONDS)
        except DatabaseError as error:
            raise HTTPException(503, str(error)) from error
        return json_response(prices)

    async def events(self, request: Request) -> Response:
        """Server-sent events: one at once, then one for each new file, with the server's time of sending."""
        symbol = self._known(request.path_params["symbol"])
        return EventSourceResponse(self._ladders(symbol), ping=KEEP_ALIVE_SECONDS, sep="\n")

    async def health(self, _: Request) -> Response:
        """200 if the probabilities may be relied upon, else 503; the body has each check with its figure."""
        report = await self._report(HEALTH_PATIENCE_SECONDS)
        return json_response(report, HTTPStatus.OK if report["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def audit(self, _: Request) -> Response:
        """The page of the newest audit."""
        return HTMLResponse(_content(self._audit.page), headers={"content-security-policy": AUDIT_POLICY})

    async def metrics(self, _: Request) -> Response:
        """What the newest audit measured, in Prometheus' text format."""
        return Response(_content(self._audit.metrics), media_type=METRICS_TYPE)

    async def _ladders(self, symbol: str) -> AsyncIterator[ServerSentEvent]:
        async with aclosing(self._feeds[symbol].contents()) as contents:
            async for content in contents:
                now = self._clock()
                view = view_of(symbol, content, now)
                data = {"at": iso(now), "symbol": symbol, "status": view.status, "reasons": view.reasons}
                event = orjson.dumps({**data, "payload": view.payload}).decode()
                yield ServerSentEvent(data=event, event="ladder", retry=RECONNECT_MILLISECONDS)

    async def _report(self, patience_seconds: float) -> dict[str, Any]:
        found: DatabaseHealth | DatabaseError
        try:
            found = await self._found.get(patience_seconds)
        except DatabaseError as error:
            found = error
        now = self._clock()
        return health_report([read_view(self._folder, symbol, now) for symbol in self._symbols], found, now)

    def _read_hour(self, database: Database, symbol: str) -> list[tuple[str, float]]:
        now = self._clock()
        start = now.replace(minute=0, second=0, microsecond=0)
        return [(iso(at), price) for at, price in read_prices(database, symbol, start, now)]

    def _known(self, symbol: str) -> str:
        """A configured symbol, from the configuration itself; raises 404 otherwise."""
        for known in self._symbols:
            if known == symbol:
                return known
        raise HTTPException(404, f"there is no such symbol; there are {', '.join(self._symbols)}")


def create_app(pages: Pages) -> Starlette:
    """The ASGI application of these pages."""
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/health", pages.health),
            Route("/audit", pages.audit),
            Route("/metrics", pages.metrics),
            Route("/api/symbols", pages.symbols),
            Route("/api/{symbol}", pages.ladder),
            Route("/api/{symbol}/history", pages.history),
            Route("/events/{symbol}", pages.events),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: _told},
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise HTTPException(
            404, "there is no audit yet: `strikecast audit run`, or wait for the next hour's"
        ) from error


class SecurityHeaders:
    """Puts HEADERS on every response, but for what it sets itself.

    Plain ASGI: Starlette's base class would hold up the end of streams.
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


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response({"error": error.detail}, error.status_code, error.headers)


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def iso(instant: datetime) -> str:
    """An instant (UTC) as the files write it: milliseconds, and Z."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
