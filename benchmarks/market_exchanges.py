"""Exchanges of markets for benchmarks, each a local server in its own process: one that quotes, one that repeats a day.

Answers are in the exchange's shape of 2026, with rows of the size of real ones.
"""

import asyncio
import bisect
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl
from aiohttp import web

TICKS = "kxbtcd_hourly_ticks_2025-05"
#: Open and close of the event KXBTCD-25MAY2120.
LAST_EVENT = ("2025-05-21T23:00:00Z", "2025-05-22T00:00:00Z")
PREFIX = "/trade-api/v2"
#: Text of a market that is not read: a real row has about 1,850 characters.
RULES = {"rules_primary": "r" * 220, "rules_secondary": "s" * 420}
SERIES = ("KXBTCD", "KXETHD")
STRIKES = 188


@dataclass(frozen=True)
class Clock:
    """A clock that shows `start` (aware UTC) at `began` of the monotonic clock and runs `speed` times as fast."""

    start: datetime
    began: float
    speed: float = 1.0

    def __call__(self) -> datetime:
        """The time now."""
        return self.start + timedelta(seconds=(time.monotonic() - self.began) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of this clock."""
        await asyncio.sleep(seconds / self.speed)


class Exchange(ABC):
    """Markets by ticker at an instant of `clock`."""

    clock: Clock
    tickers: Sequence[str]

    @abstractmethod
    def row(self, ticker: str, now: datetime) -> dict[str, Any]:
        """A market as listed."""


class QuotingExchange(Exchange):
    """An event of 188 markets in each of two series until an hour after the start, with quotes that change always."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.closes_at = clock.start + timedelta(hours=1)
        self.tickers = [f"{series}-E-T{100_000 + 250 * n - 0.01:.2f}" for series in SERIES for n in range(STRIKES)]
        self._number = 0

    def row(self, ticker: str, now: datetime) -> dict[str, Any]:
        """A market whose quotes are others each time."""
        del now
        self._number += 1
        opened = self.closes_at - timedelta(hours=2)
        return market_row(ticker, opened, self.closes_at, 20 + self._number % 50, 25, 7 + self._number % 90, 5.0, 1)


class RecordedExchange(Exchange):
    """The books of recorded markets as they were at the clock's time; `volume_fp` is the number of updates so far."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.clock = clock
        self.markets = recorded_markets(folder)
        self.updates = recorded_updates(folder)
        self.tickers = list(self.markets)

    def row(self, ticker: str, now: datetime) -> dict[str, Any]:
        """A market with its newest update."""
        updates, (opens_at, closes_at, result) = self.updates[ticker], self.markets[ticker]
        count = bisect.bisect_right(updates.at, now)
        bid, bid_size, no_bid, no_size = updates.quotes[count - 1] if count else (0, 0.0, 0, 0.0)
        found = market_row(ticker, opens_at, closes_at, bid, bid_size, no_bid, no_size, count)
        if now >= closes_at + timedelta(minutes=5):
            found |= {"status": "finalized", "result": result}
        elif now >= closes_at:
            found["status"] = "closed"
        return found


@dataclass(frozen=True)
class Updates:
    """Updates of one market in their order: instants (aware UTC), and (yes bid, size, no bid, size), cents."""

    at: list[datetime]
    quotes: list[tuple[int, float, int, float]]


def recorded_markets(folder: Path) -> dict[str, tuple[datetime, datetime, str]]:
    """Open, close and result of the recorded markets by ticker; the list of markets lacks those of the last event."""
    updated = pl.scan_parquet(folder / TICKS / "ticks.parquet").select("market_ticker").unique().collect()
    frame = updated.join(pl.read_csv(folder / TICKS / "markets.csv"), on="market_ticker", how="left")
    return {
        row["market_ticker"]: (
            datetime.fromisoformat(row["open_time_iso"] or LAST_EVENT[0]),
            datetime.fromisoformat(row["close_time_iso"] or LAST_EVENT[1]),
            row["result"] or "void",
        )
        for row in frame.sort("market_ticker").iter_rows(named=True)
    }


def recorded_updates(folder: Path) -> dict[str, Updates]:
    """The recorded updates by market, in the order of the file, which is that of time.

    Sequence numbers are those of two connections.
    """
    frame = pl.read_parquet(folder / TICKS / "ticks.parquet").select(
        "market_ticker",
        "ts",
        pl.col("yes_bid_price_cents").fill_null(0).round().cast(pl.Int64),
        pl.col("yes_bid_qty").fill_null(0.0).cast(pl.Float64),
        (100 - pl.col("yes_ask_price_cents").fill_null(100)).round().cast(pl.Int64),
        pl.col("yes_ask_qty_on_no_side").fill_null(0.0).cast(pl.Float64),
    )
    found = {}
    for (ticker,), own in frame.group_by("market_ticker", maintain_order=True):
        found[str(ticker)] = Updates(own["ts"].to_list(), own.select(pl.nth(range(2, 6))).rows())
    return found


def market_row(
    ticker: str,
    opens_at: datetime,
    closes_at: datetime,
    yes_bid: int,
    yes_size: float,
    no_bid: int,
    no_size: float,
    volume: int,
) -> dict[str, Any]:
    """A market in the shape of 2026; prices in cents, 0 for no bid."""
    event, _, strike = ticker.rpartition("-T")
    return {
        "ticker": ticker,
        "event_ticker": event,
        "market_type": "binary",
        "title": "",
        "open_time": f"{opens_at:%Y-%m-%dT%H:%M:%SZ}",
        "close_time": f"{closes_at:%Y-%m-%dT%H:%M:%SZ}",
        "status": "active",
        "result": "",
        "strike_type": "greater",
        "floor_strike": float(strike),
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "yes_bid_dollars": f"{yes_bid / 100:.4f}",
        "yes_ask_dollars": f"{1 - no_bid / 100:.4f}",
        "no_bid_dollars": f"{no_bid / 100:.4f}",
        "no_ask_dollars": f"{1 - yes_bid / 100:.4f}",
        "yes_bid_size_fp": f"{yes_size:.2f}",
        "yes_ask_size_fp": f"{no_size:.2f}",
        "volume_fp": f"{volume}.00",
        "open_interest_fp": "0.00",
        **RULES,
    }


def application(exchange: Exchange) -> web.Application:
    """The endpoints that a feed asks."""

    def answer(body: dict[str, Any], now: datetime) -> web.Response:
        headers = {"Date": f"{now:%a, %d %b %Y %H:%M:%S} GMT"}
        return web.Response(text=json.dumps(body), content_type="application/json", headers=headers)

    async def markets(request: web.Request) -> web.Response:
        now, query = exchange.clock(), request.query
        wanted = query["tickers"].split(",") if "tickers" in query else exchange.tickers
        rows = [exchange.row(ticker, now) for ticker in wanted if ticker.startswith(query.get("series_ticker", ""))]
        if "min_close_ts" in query:
            first, last = int(query["min_close_ts"]), int(query["max_close_ts"])
            closes = [datetime.fromisoformat(row["close_time"]).timestamp() for row in rows]
            rows = [row for row, close in zip(rows, closes, strict=True) if first <= close <= last]
        return answer({"markets": rows, "cursor": ""}, now)

    async def events(_: web.Request) -> web.Response:
        return answer({"events": [], "cursor": ""}, exchange.clock())

    async def event(request: web.Request) -> web.Response:
        now, name = exchange.clock(), request.match_info["event"]
        rows = [exchange.row(ticker, now) for ticker in exchange.tickers if ticker.startswith(f"{name}-")]
        found = {"event_ticker": name, "series_ticker": name.partition("-")[0], "title": name, "markets": rows}
        return answer({"event": found}, now)

    async def status(_: web.Request) -> web.Response:
        return answer({"exchange_active": True, "trading_active": True}, exchange.clock())

    async def changes(_: web.Request) -> web.Response:
        return answer({"series_fee_change_arr": []}, exchange.clock())

    async def series(request: web.Request) -> web.Response:
        terms = {"ticker": request.match_info["series"], "fee_type": "quadratic", "fee_multiplier": 1}
        return answer({"series": terms}, exchange.clock())

    app = web.Application()
    paths = {
        "/markets": markets,
        "/events": events,
        "/events/{event}": event,
        "/exchange/status": status,
        "/series/fee_changes": changes,
        "/series/{series}": series,
    }
    app.add_routes([web.get(f"{PREFIX}{path}", handler) for path, handler in paths.items()])
    return app


@contextmanager
def served(folder: Path | None, clock: Clock) -> Iterator[str]:
    """Serve the recording in a folder, or an exchange that quotes, in a process of its own; yields the address."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(folder, clock, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}{PREFIX}"
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path | None, clock: Clock, started: Connection) -> None:
    async def run() -> None:
        exchange = QuotingExchange(clock) if folder is None else RecordedExchange(folder, clock)
        runner = web.AppRunner(application(exchange), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        started.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())
