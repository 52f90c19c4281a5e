"""The feed of markets: CPU, memory and latency at 1 Hz, and the replay of recorded updates.

`python -m benchmarks.market_feed [--markets FOLDER] [--only NAME ...] [--events N]`: `steady` takes a minute, `updates`
two, `replay` half an hour (a twentieth of the recording's ten hours). The folder of recorded quotes is by default
$STRIKECAST_REAL_DATA/markets.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.market_exchanges import (
    Clock,
    Updates,
    market_row,
    recorded_markets,
    recorded_updates,
    served,
)
from benchmarks.price_files import VARIABLE
from benchmarks.results import Result, machine, percentiles_ms, print_and_save
from pipelines.configuration.sections import MarketSettings
from pipelines.domain.markets.board import EventBoard, MarketSource
from pipelines.domain.markets.listings import Listing
from pipelines.markets.client import MarketClient
from pipelines.markets.feed import MarketFeed, SeriesPlan, poll_settings
from pipelines.markets.series_events import SeriesEvents
from pipelines.markets.wire import read_listings

ROOT = Path(__file__).parents[1]
BTC, ETH = SeriesPlan("BTC", "KXBTCD", 250.0), SeriesPlan("ETH", "KXETHD", 20.0)
SPEED = 20.0
STEADY_SECONDS = 60.0
#: A pause of the recording longer than this is not replayed.
LONGEST_PAUSE = timedelta(minutes=20)
FINAL_AFTER = timedelta(minutes=7)
IMPORT = """
import time, psutil
import aiohttp, pydantic, polars, pipelines.markets.wire
process, started = psutil.Process(), time.process_time()
before = process.memory_info().rss
import {module}
print(time.process_time() - started, (process.memory_info().rss - before) / 1e6)
"""


def imports() -> Result:
    """CPU time and memory of the import of the client, and of the whole package of its library."""
    measured = {}
    for module in ("pipelines.markets.client", "ccxt.prediction"):
        command = [sys.executable, "-c", IMPORT.format(module=module)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        measured[module] = tuple(map(float, printed.split()))
    (seconds, megabytes), (all_seconds, all_megabytes) = measured.values()
    return Result(
        "import of the client",
        f"{seconds:.2f} s of CPU time, {megabytes:.0f} MB",
        f"{all_seconds:.2f} s, {all_megabytes:.0f} MB, with the clients of all exchanges",
        "under 1 s, 30 MB",
        seconds < 1 and megabytes < 30,
    )


class Measurement:
    """A feed in this process, and the seconds from the arrival of quotes to the return of `on_board`."""

    def __init__(self, url: str, clock: Clock, plans: Mapping[SeriesPlan, float | None]) -> None:
        settings = poll_settings(MarketSettings(), url)
        limit = settings.requests_per_second * clock.speed
        self.client = MarketClient(replace(settings, requests_per_second=limit), clock)
        self.latencies: list[float] = []
        self.listings: list[tuple[datetime, Sequence[Listing]]] = []
        self.boards: dict[str, EventBoard] = {}
        self.logged: list[str] = []
        self._clock = clock
        self._received_at: datetime | None = None
        prices = {plan.symbol: price for plan, price in plans.items()}
        self.feed = MarketFeed(
            self.client,
            MarketSource.KALSHI,
            tuple(plans),
            prices.get,
            on_board=self._on_board,
            on_listings=self._on_listings,
            log=self.logged.append,
            clock=clock,
            sleep=clock.sleep,
        )

    def _on_listings(self, _: str, listings: Sequence[Listing], received_at: datetime) -> None:
        self._received_at = received_at
        self.listings.append((received_at, listings))

    def _on_board(self, board: EventBoard) -> None:
        self.boards[board.series_ticker] = board
        if self._received_at is not None:
            self.latencies.append((self._clock() - self._received_at).total_seconds() / self._clock.speed)
            self._received_at = None

    async def run(self, seconds: float) -> None:
        """Run for seconds of real time."""
        async with self.client:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.feed.run()


def steady() -> list[Result]:
    """Two series with 188 markets each, 21 of each polled at 1 Hz, all quotes new each time."""
    clock = Clock(datetime.fromisoformat("2026-03-21T09:00:00+00:00"), time.monotonic())
    with served(None, clock) as url:
        measurement = Measurement(url, clock, {BTC: 120_000.0, ETH: 121_000.0})
        used: list[float] = []

        async def run() -> None:
            async def watch() -> None:
                await asyncio.sleep(5.0)
                started, began = time.process_time(), time.monotonic()
                measurement.latencies.clear()
                await asyncio.sleep(STEADY_SECONDS)
                used.append((time.process_time() - started) / (time.monotonic() - began))

            watching = asyncio.create_task(watch())
            await measurement.run(STEADY_SECONDS + 6.0)
            await watching

        asyncio.run(run())
    problems = [problem for board in measurement.boards.values() for problem in (board.failure, *board.problems)]
    assert not any(problems), problems
    latency = percentiles_ms(measurement.latencies)
    share = 100 * used[0]
    return [
        Result(
            "feed of 2 x 21 of 188 markets at 1 Hz, whole events each minute, all quotes new",
            f"{share:.2f} % of a core",
            "-",
            "under 0.8 % of a core",
            share < 0.8,
            {"share_percent": share},
        ),
        Result(
            f"quotes received to `on_board` returned, {len(measurement.latencies)} answers",
            f"p50 {latency['p50_ms']:.2f} ms, p95 {latency['p95_ms']:.2f} ms, p99 {latency['p99_ms']:.2f} ms",
            "-",
            "p95 under 5 ms",
            latency["p95_ms"] < 5,
            dict(latency),
        ),
    ]


def quoted(listing: Listing) -> tuple[int, float, int, float]:
    """Best bids with sizes as in the recording: cents and contracts, 0 for no bid."""
    yes, no = (
        (0, 0.0) if bid is None else (round(bid.price * 100), float(bid.contracts or 0))
        for bid in (listing.quotes.yes_bid, listing.quotes.no_bid)
    )
    return (*yes, *no)


def updates(folder: Path) -> Result:
    """Each recorded update as an answer of its own: read, taken, on the board, delivered."""
    markets, recorded = recorded_markets(folder), recorded_updates(folder)
    order = sorted((at, name, number) for name, own in recorded.items() for number, at in enumerate(own.at))
    events = SeriesEvents(BTC, MarketSource.KALSHI)
    delivered, shown, last = 0, 0, dict[str, tuple[int, float, int, float]]()
    started, used = time.perf_counter(), time.process_time()
    for at, name, number in order:
        opens_at, closes_at, _ = markets[name]
        row = market_row(name, opens_at, closes_at, *recorded[name].quotes[number], number + 1)
        row["floor_strike"] = row["ticker"].rpartition("-T")[2]
        listings = read_listings([row], "KXBTCD")
        events.take_found(listings, at)
        [listing] = listings.listings
        last[name] = quoted(listing)
        delivered += last[name] == recorded[name].quotes[number]
        # A few updates arrived before the open of their event, or after its close: then another one is current.
        board = events.board(min(at, closes_at - timedelta(seconds=1)), None)
        on_board = [one.listing for one in board.markets if one.listing.market.ticker == name]
        shown += on_board == [listing] or board.event_ticker != listing.market.event_ticker
        events.take_ended(at)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    final = sum(last[name] == own.quotes[-1] for name, own in recorded.items())
    span = sum(_durations(recorded), timedelta()).total_seconds()
    return Result(
        f"{len(order):,} recorded updates, each read, taken and on the board",
        f"{delivered:,} as recorded, {shown:,} on the board, final books of {final} of {len(recorded)} markets equal; "
        f"{seconds:.0f} s, {1e6 * used / len(order):.0f} us of CPU time each: {span / seconds:.0f} times as fast",
        f"{span / 3600:.1f} h recorded",
        "none lost, final books equal, 20 times as fast",
        delivered == shown == len(order) and final == len(recorded) and span / seconds > SPEED,
    )


def _durations(recorded: dict[str, Updates]) -> list[timedelta]:
    return [until - begin for begin, until in _blocks(recorded)]


def _blocks(recorded: dict[str, Updates]) -> list[tuple[datetime, datetime]]:
    """The parts of the recording without long pauses."""
    instants = sorted(at for own in recorded.values() for at in own.at)
    begins = [
        0,
        *(number for number in range(1, len(instants)) if instants[number] - instants[number - 1] > LONGEST_PAUSE),
    ]
    ends = [*(begin - 1 for begin in begins[1:]), len(instants) - 1]
    return [(instants[begin], instants[end]) for begin, end in zip(begins, ends, strict=True)]


def replay(folder: Path, events: int) -> Result:
    """The recording served as an exchange at 20 times speed, polled by the feed at 20 Hz, its last events at most."""
    recorded, closes = recorded_updates(folder), {name: one[1] for name, one in recorded_markets(folder).items()}
    latest = sorted(set(closes.values()))[-events:]
    counts, cpu, seconds, polled = Counter[str](), 0.0, 0.0, 0.0
    latencies: list[float] = []
    final: dict[str, int] = {}
    seen: dict[str, set[int]] = {}
    first = latest[0] - timedelta(hours=1)
    for begin, until in ((max(begin, first), until) for begin, until in _blocks(recorded) if until > first):
        clock = Clock(begin - timedelta(seconds=20), time.monotonic() + 8.0, SPEED)
        with served(folder, clock) as url:
            time.sleep(max(0.0, clock.began - time.monotonic()))
            measurement = Measurement(url, clock, {BTC: None})
            used, started = time.process_time(), time.monotonic()
            # Some minutes after the last close all markets are final.
            asyncio.run(measurement.run((until - begin + FINAL_AFTER).total_seconds() / SPEED))
            cpu += time.process_time() - used
            seconds += time.monotonic() - started
        polled += (until - begin + FINAL_AFTER).total_seconds()
        latencies += measurement.latencies
        counts["failures"] += sum("delivers again" in line for line in measurement.logged)
        for received_at, listings in measurement.listings:
            counts["answers"] += 1
            for listing in listings:
                _check(listing, received_at, recorded, counts, final, seen)
    due = [name for name, at in closes.items() if at in latest]
    unequal = [f"{name} {final.get(name)}" for name in due if final.get(name) != len(recorded[name].at)]
    equal = f"{len(due) - len(unequal)} of {len(due)} markets equal{''.join(f', not {one}' for one in unequal)}"
    latency = percentiles_ms(latencies)
    return Result(
        f"{sum(len(recorded[name].at) for name in due):,} updates of {len(due)} markets at {SPEED:g} times speed,"
        f" polled at {SPEED:g} Hz over HTTP",
        f"{counts['answers']:,} answers ({counts['answers'] / polled:.2f} per recorded second) with"
        f" {counts['listings']:,} markets: {counts['wrong']} differ from the recording, {counts['late']} are older than"
        f" 0.5 s; {sum(map(len, seen.values())):,} states seen; final books of {equal}; {counts['failures']} failures;"
        f" {100 * cpu / seconds:.1f} % of a core; on the board p95 {latency['p95_ms']:.2f} ms after the arrival",
        f"{polled / 3600:.1f} h recorded in {seconds / 60:.0f} min",
        "none lost, final books equal",
        not counts["wrong"] and not counts["late"] and not unequal,
    )


def _check(
    listing: Listing,
    received_at: datetime,
    recorded: dict[str, Updates],
    counts: Counter[str],
    final: dict[str, int],
    seen: dict[str, set[int]],
) -> None:
    """Compare a listing with the update whose number it carries as volume."""
    name, number = listing.market.ticker, int(listing.volume)
    counts["listings"] += 1
    final[name] = number
    if not number:
        return
    own = recorded[name]
    seen.setdefault(name, set()).add(number)
    counts["wrong"] += quoted(listing) != own.quotes[number - 1] or own.at[number - 1] > received_at
    # Of real time, between the answer and its arrival.
    counts["late"] += number < len(own.at) and own.at[number] < received_at - timedelta(seconds=0.5 * SPEED)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market_feed", description=__doc__)
    default = Path(os.environ[VARIABLE]) / "markets" if VARIABLE in os.environ else None
    parser.add_argument("--markets", type=Path, default=default, help="folder of recorded quotes")
    parser.add_argument("--only", nargs="+", choices=["imports", "steady", "updates", "replay"])
    parser.add_argument("--events", type=int, default=10, help="events of the recording to replay, the last ones")
    arguments = parser.parse_args()
    if arguments.markets is None:
        parser.error(f"--markets, or {VARIABLE}, is required")
    work: dict[str, Callable[[], Sequence[Result]]] = {
        "imports": lambda: [imports()],
        "steady": steady,
        "updates": lambda: [updates(arguments.markets)],
        "replay": lambda: [replay(arguments.markets, arguments.events)],
    }
    results = [result for name, measure in work.items() if name in (arguments.only or work) for result in measure()]
    print_and_save(results, "beside", ROOT / ".benchmarks" / "market_feed.json", "recorded quotes")
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
