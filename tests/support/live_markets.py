"""A live session with the markets of a simulated exchange, each in a thread of its own."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from live_sessions import insert_half_an_hour_of_ticks, insert_tick, new_session, running_in_thread
from simulated_exchange import Faults, simulated_exchange, walk_until
from strike_tables import written
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.configuration.sections import MarketSettings
from pipelines.domain.markets.board import MarketSource
from pipelines.errors import MarketError
from pipelines.live.desk import DeskPlan
from pipelines.live.markets import LiveMarkets, MarketPlan
from pipelines.live.probability_writer import strike_table_path
from pipelines.live.session import LiveSession
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.markets.client import MarketClient
from pipelines.markets.polling import poll_settings
from pipelines.markets.simulation.series import Series
from pipelines.storage.postgres.connection import Database

PRICE = 100.0


@dataclass
class ExchangeThread:
    """A simulated exchange on prices around PRICE that can be stopped and started again, then at another address."""

    symbol: str
    faults: Faults = field(default_factory=Faults)
    url: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def series(self) -> str:
        return f"KX{self.symbol}D"

    def address(self) -> str:
        """As of `MarketPlan`."""
        if self.url is None:
            raise MarketError("the simulated exchange is not up")
        return self.url

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        wait_until(lambda: self.url is not None, "the exchange")

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT_SECONDS)
            assert not self._thread.is_alive()

    async def _serve(self) -> None:
        prices = walk_until(datetime.now(UTC), ahead_seconds=900, price_usd=PRICE, volatility=2e-5)
        series = Series(self.series, self.symbol, Decimal("0.25"))
        async with simulated_exchange({self.symbol: prices}, (series,), faults=self.faults) as url:
            self.url = url
            await asyncio.to_thread(self._stop.wait)
            self.url = None


@contextmanager
def exchange_of(symbol: str) -> Iterator[ExchangeThread]:
    exchange = ExchangeThread(symbol)
    exchange.start()
    try:
        yield exchange
    finally:
        exchange.stop()


def session_with_markets(
    database: Database, output: Path, exchange: ExchangeThread, *, desk: DeskPlan | None = None, **options: Any
) -> LiveSession:
    settings = MarketSettings(source=MarketSource.SIMULATED)

    def make(refreshers: dict[str, SymbolRefresher], log: Log) -> LiveMarkets:
        plan = MarketPlan(
            MarketSource.SIMULATED,
            {exchange.symbol: [exchange.series]},
            exchange.address,
            lambda url: MarketClient(poll_settings(settings, url)),
            desk,
        )
        return LiveMarkets(plan, refreshers, log)

    return new_session(database, output, exchange.symbol, make_markets=make, **options)


@contextmanager
def prices_each_half_second(database: Database, symbol: str) -> Iterator[None]:
    """Half an hour of ticks, then one each half second in a thread."""
    insert_half_an_hour_of_ticks(database, symbol, PRICE)
    ended = threading.Event()

    def produce() -> None:
        number = 0
        while not ended.wait(0.5):
            number += 1
            insert_tick(database, symbol, PRICE + 0.01 * (number % 3))

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(TIMEOUT_SECONDS)


@contextmanager
def running_markets(database: Database, output: Path, symbol: str, **options: Any) -> Iterator[ExchangeThread]:
    """A session with prices and quotes whose strike table is open."""
    logged: list[str] = []
    with exchange_of(symbol) as exchange, prices_each_half_second(database, symbol):
        live = session_with_markets(database, output, exchange, log=logged.append, **options)
        with running_in_thread(live) as raised:
            wait_for_table(output, symbol, "open")
            yield exchange
            assert not raised, logged


def read_table(output: Path, symbol: str) -> dict[str, Any] | None:
    """A strike table, checked by the published schema."""
    path = strike_table_path(output, symbol)
    return written(orjson.loads(path.read_bytes())) if path.exists() else None


def wait_for_table(output: Path, symbol: str, status: str) -> dict[str, Any]:
    """Wait for a strike table whose `market_status` begins so, and return it."""
    found: list[dict[str, Any]] = []

    def matches() -> bool:
        table = read_table(output, symbol)
        if table is not None and table["market_status"].startswith(status):
            found.append(table)
        return bool(found)

    wait_until(matches, f"a strike table that is {status}")
    return found[0]


def replacements(path: Path, seconds: float) -> int:
    """How often a file is replaced within so many seconds."""
    seen, end = set(), time.monotonic() + seconds
    while time.monotonic() < end:
        seen.add(path.stat().st_mtime_ns)
        time.sleep(0.01)
    return len(seen)
