"""The simulated exchange in a test: on prices and at a time of the test's choice, and with injected faults."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.domain.prices.ticks import EPOCH, milliseconds_of
from pipelines.markets.address import API_PATH
from pipelines.markets.simulation.app import create_app
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.incidents import CALM, Incidents
from pipelines.markets.simulation.index import PriceHistory
from pipelines.markets.simulation.series import Series
from pipelines.markets.simulation.server import serving

BTC = Series("KXBTCD", "BTC", Decimal(250))
RANGES = Series("KXBTC", "BTC", Decimal(250), fee_multiplier=Decimal("0.5"))
QUARTERS = Series("KXBTC15M", "BTC", Decimal(250))
ETH = Series("KXETHD", "ETH", Decimal(20), fee_change=True)

#: Replaces the response to a request; None leaves it as it is.
Fault = Callable[[Request], Awaitable[Response | None]]
Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


def answer(status: int, body: str = '{"error": {"code": "of a test"}}') -> Fault:
    """Answer with an HTTP status."""

    async def respond(_: Request) -> Response:
        return Response(body, status, media_type="application/json")

    return respond


async def stall(_: Request) -> Response:
    """Never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


@dataclass
class Faults:
    """Faults by path below the API's address, such as `/markets`; they can be changed while the exchange runs.

    `responses`: to the next requests, in place of the normal ones. `rewrites`: applied to every normal JSON response.
    """

    responses: dict[str, deque[Fault]] = field(default_factory=dict)
    rewrites: dict[str, Rewrite] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def fail(self, path: str, *faults: Fault) -> None:
        """Respond to the next requests of a path with faults."""
        self.responses.setdefault(path, deque()).extend(faults)

    def endless_cursor(self, path: str) -> None:
        """Give each page of a path a cursor that is new, for ever."""
        self.rewrites[path] = lambda body: {**body, "cursor": f"again-{len(self.requests)}"}

    def stuck_cursor(self, path: str, cursor: str = "same") -> None:
        """Give each page of a path the same cursor."""
        self.rewrites[path] = lambda body: {**body, "cursor": cursor}

    def rename_market(self, path: str, ticker: str, renamed: str) -> None:
        """Give a market another ticker in the responses of a path."""

        def rewrite(body: dict[str, Any]) -> dict[str, Any]:
            text = orjson.dumps(body).replace(f'"{ticker}"'.encode(), f'"{renamed}"'.encode())
            found: dict[str, Any] = orjson.loads(text)
            return found

        self.rewrites[path] = rewrite

    def no_markets(self, path: str = "/events") -> None:
        """Take the markets out of the events in the responses of a path."""
        self.rewrites[path] = lambda body: {
            **body,
            "events": [{**event, "markets": []} for event in body["events"]],
        }


class FaultyApp:
    """An exchange behind injected faults."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path.removeprefix(API_PATH)
        self._faults.requests.append(f"{path}?{request.url.query}" if request.url.query else path)
        waiting = self._faults.responses.get(path)
        response = await waiting.popleft()(request) if waiting else None
        if response is not None:
            await response(scope, receive, send)
            return
        rewrite = self._faults.rewrites.get(path)
        if rewrite is None:
            await self._app(scope, receive, send)
            return
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        if "cursor" in request.query_params:  # one that a rewrite made
            scope["query_string"] = b"&".join(
                part for part in scope["query_string"].split(b"&") if not part.startswith(b"cursor=")
            )
        await self._app(scope, receive, keep)
        body = orjson.loads(b"".join(message.get("body", b"") for message in sent))
        await Response(orjson.dumps(rewrite(body)), media_type="application/json")(scope, receive, send)


def walk(
    start: datetime, seconds: int, price_usd: float = 118_000.0, *, seed: int = 1, volatility: float = 6e-5
) -> PriceHistory:
    """A price each second from `start` (aware) on: a random walk of the log price."""
    changes = np.random.default_rng(seed).normal(0.0, volatility, seconds)
    ticked_ms = milliseconds_of(start) + 1_000 * np.arange(seconds, dtype=np.int64) + 250
    return PriceHistory(ticked_ms, np.round(price_usd * np.exp(np.cumsum(changes)), 2))


def fixed(now: datetime) -> Callable[[], datetime]:
    """A clock that stands still."""
    return lambda: now


def wall_clock() -> datetime:
    return datetime.now(UTC)


def ahead(clock: Callable[[], datetime], seconds: float = 3.0) -> Callable[[], datetime]:
    """A clock that is wrong by a constant."""
    return lambda: clock() + timedelta(seconds=seconds)


def walk_until(now: datetime, *, hours: float = 2.0, ahead_seconds: int = 120, **options: Any) -> PriceHistory:
    """A random walk from before `now` (aware) until after it, so that an exchange on the wall clock has prices."""
    begin = EPOCH + (now - EPOCH) // timedelta(seconds=1) * timedelta(seconds=1) - timedelta(hours=hours)
    return walk(begin, int(hours * 3600) + ahead_seconds, **options)


@asynccontextmanager
async def simulated_exchange(
    prices: Mapping[str, PriceHistory] | None = None,
    series: Sequence[Series] = (BTC,),
    *,
    seed: int = 0,
    incidents: Incidents = CALM,
    clock: Callable[[], datetime] = wall_clock,
    faults: Faults | None = None,
) -> AsyncIterator[str]:
    """Serve a simulated exchange on a free port in the running event loop; yields the address for `ClientSettings`.

    By default BTC's hourly ladder on a random walk at the wall clock, without incidents.
    """
    if prices is None:
        prices = {one.symbol: walk_until(clock()) for one in series}
    app: ASGIApp = create_app(SimulatedExchange(series, prices, seed, incidents), clock)
    async with serving(app if faults is None else FaultyApp(app, faults)) as url:
        yield url
