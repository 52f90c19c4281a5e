"""Real live sessions in processes of their own, fed by ticks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from waiting import wait_until

from pipelines.live.output import probabilities_path
from pipelines.storage.database import Database, Role
from pipelines.storage.live import session_is_alive

SESSION = """
import sys
from datetime import timedelta
from pathlib import Path
from pipelines.live.feeds.base import NoFeed
from pipelines.live.feeds.choose import replay_of
from pipelines.live.session import LiveSession
from pipelines.storage.database import Database
url, output, feed, period, *symbols = sys.argv[1:]
LiveSession(
    Database(url), Path(output), dict.fromkeys(symbols, 0.25),
    replay_of(symbols) if feed == "replay" else lambda _: NoFeed(),
    period=timedelta(seconds=float(period)), wait=True, say=lambda text: print(text, flush=True),
).run()
"""
#: Once in ten years: who waits in a test is to take over when the test says so, not because an hour is over.
HARDLY_EVER_SECONDS = 3_650 * 86_400.0


@contextmanager
def session(
    database: Database, output: Path, *symbols: str, feed: str = "external", period_seconds: float = HARDLY_EVER_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """A real live session in a process of its own, ended at the latest with the context."""
    child = start_session(database, output, *symbols, feed=feed, period_seconds=period_seconds)
    try:
        wait_until(lambda: alive(database) or child.poll() is not None, "the session to start")
        assert child.poll() is None
        yield child
    finally:
        end(child)
        wait_until(lambda: not alive(database), "the lock to go with the process")


def start_session(
    database: Database, output: Path, *symbols: str, feed: str = "external", period_seconds: float = HARDLY_EVER_SECONDS
) -> subprocess.Popen[bytes]:
    """As `session`, but nobody waits until it runs, and nobody ends it."""
    arguments = [database.url, str(output), feed, str(period_seconds), *symbols]
    return subprocess.Popen([sys.executable, "-c", SESSION, *arguments])


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def alive(database: Database) -> bool:
    with database.connect("test", Role.PIPELINE) as connection:
        return session_is_alive(connection)


def tick(database: Database, symbol: str, price: float, at: datetime | None = None) -> None:
    now = datetime.now(UTC)
    with database.connect("producer", Role.LIVE) as connection:
        if at is not None and at.date() != now.date():  # shortly after midnight
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [at.date()])
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'test')",
            [symbol, at or now, price],
        )


def half_an_hour_of_ticks(database: Database, symbol: str, price: float) -> None:
    now = datetime.now(UTC)
    for minutes in range(32, 0, -1):
        tick(database, symbol, price, now - timedelta(minutes=minutes))


def read(output: Path, symbol: str) -> dict[str, Any] | None:
    path = probabilities_path(output, symbol)
    return orjson.loads(path.read_bytes()) if path.exists() else None


def has(output: Path, symbol: str, **expected: object) -> Callable[[], bool]:
    def check() -> bool:
        payload = read(output, symbol)
        return payload is not None and all(payload[name] == value for name, value in expected.items())

    return check
