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
from pathlib import Path
from pipelines.live.session import LiveSession
from pipelines.parity import import_tables
from pipelines.storage.database import Database
LiveSession(Database(sys.argv[1]), Path(sys.argv[2]), {s: 0.25 for s in sys.argv[4:]}, replay=sys.argv[3] == "replay").run()
"""


@contextmanager
def session(
    database: Database, output: Path, *symbols: str, feed: str = "external"
) -> Iterator[subprocess.Popen[bytes]]:
    """A real live session in a process of its own, ended at the latest with the context."""
    child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output), feed, *symbols])
    try:
        wait_until(lambda: alive(database) or child.poll() is not None, "the session to start")
        assert child.poll() is None
        yield child
    finally:
        child.kill()
        child.wait()
        wait_until(lambda: not alive(database), "the lock to go with the process")


def alive(database: Database) -> bool:
    with database.connect("test", Role.PIPELINE) as connection:
        return session_is_alive(connection)


def tick(database: Database, symbol: str, price: float, at: datetime | None = None) -> None:
    with database.connect("producer", Role.LIVE) as connection:
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'test')",
            [symbol, at or datetime.now(UTC), price],
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
