"""Live sessions in processes or threads of their own, and the ticks that feed them."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.live.feeds.base import Feed
from pipelines.live.probability_writer import probabilities_path
from pipelines.live.session import LiveSession
from pipelines.storage.live.sessions import session_lock_is_held
from pipelines.storage.postgres.connection import Database, Role

SESSION = """
import sys
from datetime import timedelta
from pathlib import Path
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.factory import replay_factory
from pipelines.live.session import LiveSession
from pipelines.storage.postgres.connection import Database
url, output, feed, period, *symbols = sys.argv[1:]
LiveSession(
    Database(url), Path(output), dict.fromkeys(symbols, 0.25),
    replay_factory(symbols) if feed == "replay" else lambda _: Feed(),
    period=timedelta(seconds=float(period)), wait=True, log=lambda text: print(text, flush=True),
).run()
"""
#: A period that never ends: tests control the hand-over.
TEN_YEARS_SECONDS = 3_650 * 86_400.0


@contextmanager
def session(
    database: Database, output: Path, *symbols: str, feed: str = "external", period_seconds: float = TEN_YEARS_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """A live session that leads, in a process of its own; killed with the context."""
    child = start_session(database, output, *symbols, feed=feed, period_seconds=period_seconds)
    try:
        wait_until(lambda: leader_is_alive(database) or child.poll() is not None, "the session to start")
        assert child.poll() is None
        yield child
    finally:
        kill(child)
        wait_until(lambda: not leader_is_alive(database), "the lock to go with the process")


def start_session(
    database: Database, output: Path, *symbols: str, feed: str = "external", period_seconds: float = TEN_YEARS_SECONDS
) -> subprocess.Popen[bytes]:
    """Start a live session in a process of its own."""
    arguments = [database.url, str(output), feed, str(period_seconds), *symbols]
    return subprocess.Popen([sys.executable, "-c", SESSION, *arguments])


def kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


@contextmanager
def running_in_thread(live: LiveSession) -> Iterator[list[BaseException]]:
    """Run a session in a thread; after the context, the list holds what it raised."""
    raised: list[BaseException] = []
    started = threading.Event()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.create_task(live._main(False))
        tasks.append((asyncio.get_running_loop(), task))
        started.set()
        await task

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 (for the test)
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(TIMEOUT_SECONDS)
        yield raised
    finally:
        loop, task = tasks[0]
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def new_session(database: Database, output: Path, *symbols: str, **options: Any) -> LiveSession:
    def no_feed(_: object) -> Feed:
        return Feed()

    return LiveSession(database, output, dict.fromkeys(symbols, 0.25), options.pop("feed", no_feed), **options)


def leader_is_alive(database: Database) -> bool:
    with database.connect("test", Role.PIPELINE) as connection:
        return session_lock_is_held(connection)


def insert_tick(database: Database, symbol: str, price: float, at: datetime | None = None) -> None:
    now = datetime.now(UTC)
    with database.connect("producer", Role.LIVE) as connection:
        if at is not None and at.date() != now.date():  # shortly after midnight
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [at.date()])
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'test')",
            [symbol, at or now, price],
        )


def insert_ticks_until(
    database: Database, output: Path, symbol: str, price: float, what: str, **expected: object
) -> dict[str, Any]:
    """Insert a tick each second until the file is as expected, and return it.

    A price is fresh for two seconds, and a session on a busy machine may need longer for its first answer.
    """
    found: list[dict[str, Any]] = []
    sent = -1.0

    def answered() -> bool:
        nonlocal sent
        if time.monotonic() - sent > 1:
            insert_tick(database, symbol, price)
            sent = time.monotonic()
        payload = read_payload(output, symbol)
        if payload is not None and matches(payload, current_price=price, **expected):
            found.append(payload)
        return bool(found)

    wait_until(answered, what)
    return found[0]


def wait_for_end(child: subprocess.Popen[bytes]) -> int:
    """Wait until a session ends; return its exit code."""
    return child.wait(TIMEOUT_SECONDS)


def insert_half_an_hour_of_ticks(database: Database, symbol: str, price: float) -> None:
    now = datetime.now(UTC)
    for minutes in range(32, 0, -1):
        insert_tick(database, symbol, price, now - timedelta(minutes=minutes))


def read_payload(output: Path, symbol: str) -> dict[str, Any] | None:
    path = probabilities_path(output, symbol)
    return orjson.loads(path.read_bytes()) if path.exists() else None


def payload_has(output: Path, symbol: str, **expected: object) -> Callable[[], bool]:
    def check() -> bool:
        payload = read_payload(output, symbol)
        return payload is not None and matches(payload, **expected)

    return check


def matches(payload: dict[str, Any], **expected: object) -> bool:
    return all(payload[name] == value for name, value in expected.items())
