"""A local server that speaks the public APIs of Coinbase Exchange, Kraken and Binance, and fails when told to.

Shapes as documented by the exchanges, values as in the real answers beside the project.
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

from pipelines.settings import ExchangeSettings, Transport

Fault = Callable[[web.Request], Any]


def status(code: int, body: str = '{"message": "no"}', **headers: str) -> Fault:
    """Answer with an HTTP status."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, text=body, content_type="application/json", headers=headers)

    return answer


def garbage(_: web.Request) -> Any:
    """Answer with what is no JSON."""

    async def answer() -> web.Response:
        return web.Response(text='{"price": "1000', content_type="application/json")

    return answer()


def other_shape(_: web.Request) -> Any:
    """Answer with JSON that is no ticker."""

    async def answer() -> web.Response:
        return web.json_response({"maintenance": True})

    return answer()


async def stall(_: web.Request) -> web.Response:
    """Take the request and never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


@dataclass
class Exchange:
    """What the server serves. `faults`: answers to the next requests instead of the right ones, by exchange path prefix."""

    prices: dict[str, float] = field(default_factory=lambda: {"BTC": 100_000.0, "ETH": 4_000.0})
    #: Time of the newest trade; None: now.
    trade_times: dict[str, float | None] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    #: Prices, or (price, seconds since 1970), to send over each websocket, by symbol.
    sockets: list[Any] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    clock_offset_seconds: float = 0.0
    #: Where its clock stands still, seconds since 1970; None: it goes.
    stopped_at: float | None = None
    #: Minutes (since 1970) without a candle.
    quiet: set[int] = field(default_factory=set)
    #: Kraken keeps the newest 720 only.
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
        """Answer the next requests below a path in these ways."""
        self.faults.setdefault(prefix, deque()).extend(faults)

    def settings(self, name: str = "coinbaseexchange", *, websocket: bool = False, **changes: Any) -> ExchangeSettings:
        """Settings with which a client finds this server."""
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
        """A trade: served from now on, and sent over every socket."""
        self.prices[symbol] = price
        self.trade_times[symbol] = at
        self.send(symbol)

    def send(self, symbol: str) -> None:
        """Send the newest trade again."""
        if not self.mute:
            self._from_outside(self._send_all(symbol))

    def send_raw(self, text: str) -> None:
        """Send whatever it is over every socket."""
        self._from_outside(self._send_text(text))

    def hang_up(self) -> None:
        """Close every socket."""
        self._from_outside(self._close_all())

    def _from_outside(self, work: Any) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_SECONDS)

    async def _send_all(self, symbol: str) -> None:
        for socket, speak in list(self.sockets):
            if not socket.closed:
                await socket.send_str(json.dumps(speak(symbol)))

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
        """Open, high, low, close, volume of a minute: made from its number, so that every test can know it."""
        base = 100_000.0 + minute % 97
        return base, base + 2.0, base - 1.0, base + 0.5, 0.25

    def candles(self, first: int, last: int) -> list[tuple[int, tuple[float, float, float, float, float]]]:
        """Candles of minutes first..last, up to the one that runs, which looks like any other."""
        newest = int(self.now() // 60)
        return [(m, self.candle(m)) for m in range(first, min(last, newest) + 1) if m not in self.quiet]


@contextmanager
def running_exchange() -> Iterator[Exchange]:
    """A server on a port of its own, in a thread of its own."""
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
