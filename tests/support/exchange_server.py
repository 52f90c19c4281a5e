"""A local server with the public APIs of Coinbase Exchange, Kraken and Binance, and with injected faults.

Shapes follow the exchanges' documentation, values their real responses.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from exchange_apis import application
from waiting import TIMEOUT_SECONDS

from pipelines.configuration.sections import ExchangeSettings, Transport

Fault = Callable[[web.Request], Any]


def status(code: int, body: str = '{"message": "no"}', **headers: str) -> Fault:
    """Answer with an HTTP status."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, text=body, content_type="application/json", headers=headers)

    return answer


def garbage(_: web.Request) -> Any:
    """Answer with invalid JSON."""

    async def answer() -> web.Response:
        return web.Response(text='{"price": "1000', content_type="application/json")

    return answer()


def other_shape(_: web.Request) -> Any:
    """Answer with JSON of another shape."""

    async def answer() -> web.Response:
        return web.json_response({"maintenance": True})

    return answer()


async def stall(_: web.Request) -> web.Response:
    """Accept the request and never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


@dataclass
class Exchange:
    """State of the server. `faults`: responses to the next requests in place of the normal ones, by path prefix."""

    prices: dict[str, float] = field(default_factory=lambda: {"BTC": 100_000.0, "ETH": 4_000.0})
    #: Time of the newest trade by symbol, in seconds since 1970; None: now.
    trade_times: dict[str, float | None] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    #: Open websockets, each with the function that builds its ticker message.
    sockets: list[Any] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    clock_offset_seconds: float = 0.0
    #: Time of a stopped clock, in seconds since 1970; None: the clock runs.
    stopped_at: float | None = None
    #: Minutes (since 1970) without a candle.
    quiet: set[int] = field(default_factory=set)
    #: Kraken serves only the newest 720 candles.
    kraken_depth: int = 720
    sequence: int = 0
    url: str = ""
    _loop: asyncio.AbstractEventLoop | None = None
    mute: bool = False

    def now(self) -> float:
        """The exchange's clock, seconds since 1970."""
        now = datetime.now(UTC).timestamp() if self.stopped_at is None else self.stopped_at
        return now + self.clock_offset_seconds

    def fail(self, prefix: str, *faults: Fault) -> None:
        """Respond to the next requests below a path with faults."""
        self.faults.setdefault(prefix, deque()).extend(faults)

    def settings(self, name: str = "coinbaseexchange", *, websocket: bool = False, **changes: Any) -> ExchangeSettings:
        """Settings of a client of this server."""
        socket = self.url.replace("http", "ws")
        urls = {
            "coinbaseexchange": {"public": f"{self.url}/coinbase", "ws": f"{socket}/coinbase/ws"},
            "kraken": {"public": f"{self.url}/kraken", "ws.publicV2": f"{socket}/kraken/ws"},
            "binance": {"public": f"{self.url}/binance/api/v3", "ws.spot": f"{socket}/binance/ws"},
        }[name]
        quote = "USDT" if name == "binance" else "USD"
        transport = Transport.WEBSOCKET if websocket else Transport.POLLING
        return ExchangeSettings(
            **{
                "name": name,
                "quote": quote,
                "transport": transport,
                "poll_seconds": 0.05,
                "timeout_seconds": 60.0,
                "urls": urls,
                **changes,
            }
        )

    def tick(self, symbol: str, price: float, at: float | None = None) -> None:
        """Record a trade: serve its price and send it over every socket."""
        self.prices[symbol] = price
        self.trade_times[symbol] = at
        self.send(symbol)

    def send(self, symbol: str) -> None:
        """Send the newest trade again."""
        if not self.mute:
            self._run_in_loop(self._send_all(symbol))

    def send_raw(self, text: str) -> None:
        """Send a text over every socket."""
        self._run_in_loop(self._send_text(text))

    def close_sockets(self) -> None:
        """Close every socket."""
        self._run_in_loop(self._close_all())

    def _run_in_loop(self, work: Any) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_SECONDS)

    async def _send_all(self, symbol: str) -> None:
        for socket, ticker_message in list(self.sockets):
            if not socket.closed:
                await socket.send_str(json.dumps(ticker_message(symbol)))

    async def _send_text(self, text: str) -> None:
        for socket, _ in list(self.sockets):
            await socket.send_str(text)

    async def _close_all(self) -> None:
        for socket, _ in list(self.sockets):
            await socket.close()

    def trade_time(self, symbol: str) -> float:
        found = self.trade_times.get(symbol)
        return self.now() if found is None else found

    def candle(self, minute: int) -> tuple[float, float, float, float, float]:
        """Open, high, low, close, volume of a minute, a function of its number."""
        base = 100_000.0 + minute % 97
        return base, base + 2.0, base - 1.0, base + 0.5, 0.25

    def candles(self, first: int, last: int) -> list[tuple[int, tuple[float, float, float, float, float]]]:
        """Candles of minutes first..last, including the unfinished current minute, which is not marked as such."""
        newest = int(self.now() // 60)
        return [(m, self.candle(m)) for m in range(first, min(last, newest) + 1) if m not in self.quiet]


@contextmanager
def running_exchange() -> Iterator[Exchange]:
    """Run a server on a free port in a thread."""
    exchange = Exchange()
    loop = asyncio.new_event_loop()
    exchange._loop = loop
    runner = web.AppRunner(application(exchange), shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    exchange.url = asyncio.run_coroutine_threadsafe(start(), loop).result(TIMEOUT_SECONDS)
    try:
        yield exchange
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(TIMEOUT_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_SECONDS)
        loop.close()
