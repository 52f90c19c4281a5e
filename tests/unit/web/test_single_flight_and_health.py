"""What the page's many clients share, and how health is judged."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from sample_ladders import ladder
from waiting import TIMEOUT_SECONDS

from pipelines.errors import DatabaseError, ServerUnavailableError
from pipelines.live.file_reader import View, view_of
from pipelines.storage.live.health_queries import DatabaseHealth, SessionRecord
from pipelines.web.health import health_report
from pipelines.web.single_flight import FileWatcher, SingleFlightCache

Answer = TypeVar("Answer")
NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
ALIVE = SessionRecord(session_id=4, status="running", cycles=100, heartbeat_age_seconds=3.0)
FINE = DatabaseHealth({"BTC": 7}, lock_is_held=True, session=ALIVE)


def run(make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    return asyncio.run(make())


def view(symbol: str = "BTC", age_seconds: float = 0.5) -> View:
    return view_of(symbol, orjson.dumps(ladder(95_100.0, NOW - timedelta(seconds=age_seconds))), NOW)


def problems(views: list[View], found: DatabaseHealth | DatabaseError) -> list[str]:
    report = health_report(views, found, NOW)
    assert report["healthy"] == (not report["problems"])
    return list(report["problems"])


def test_a_healthy_report_has_all_measurements() -> None:
    report = health_report([view()], FINE, NOW)
    assert report["healthy"] is True
    assert report["checks"]["symbols"]["BTC"] == {
        "ok": True,
        "required": True,
        "generation": 7,
        "status": "ok",
        "reasons": [],
        "file_age_seconds": 0.5,
        "price_age_seconds": 0.5,
    }
    assert report["checks"]["session"]["session_id"] == 4
    assert report["checks"]["session"]["heartbeat_age_seconds"] == 3.0


def test_an_old_file_is_unhealthy() -> None:
    assert problems([view(age_seconds=3)], FINE) == ["BTC: the file is 3.0 s old", "BTC: the price is 3.0 s old"]


def test_a_symbol_without_a_generation_is_not_required() -> None:
    missing = view_of("ETH", None, NOW)
    assert problems([view(), missing], FINE) == []
    assert problems([view(), missing], DatabaseHealth({"BTC": 7, "ETH": 9}, True, ALIVE)) != []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (DatabaseHealth({"BTC": 7}, False, ALIVE), "session: no live session is running"),
        (
            DatabaseHealth({"BTC": 7}, True, SessionRecord(4, "running", 1, 12.0)),
            "session: the last heartbeat of session 4 is 12 s old",
        ),
        (DatabaseHealth({"BTC": 7}, False, None), "session: no live session has run yet"),
        (DatabaseHealth({}, True, ALIVE), "no symbol has a published generation: run `strikecast build`"),
        (ServerUnavailableError("no answer"), "database: no answer"),
    ],
)
def test_each_failure_is_a_problem(found: DatabaseHealth | DatabaseError, problem: str) -> None:
    assert problems([view()], found) == [problem]


def test_concurrent_callers_share_one_call() -> None:
    asked = []
    go_on = threading.Event()

    def ask() -> int:
        asked.append(1)
        go_on.wait(TIMEOUT_SECONDS)
        return len(asked)

    async def many() -> list[int]:
        shared = SingleFlightCache(ask, fresh_seconds=60)
        waiting = [asyncio.create_task(shared.get(TIMEOUT_SECONDS)) for _ in range(20)]
        await asyncio.sleep(0)
        go_on.set()
        return [*await asyncio.gather(*waiting), await shared.get(TIMEOUT_SECONDS)]

    assert run(many) == [1] * 21


def test_a_hanging_call_times_out_and_is_not_repeated() -> None:
    asked = []
    never = threading.Event()

    def ask() -> None:
        asked.append(1)
        never.wait(TIMEOUT_SECONDS)

    async def ask_twice() -> None:
        shared = SingleFlightCache(ask, fresh_seconds=0)
        for _ in range(2):
            with pytest.raises(ServerUnavailableError, match=r"has not answered within 0\.05 s"):
                await shared.get(0.05)

    try:
        run(ask_twice)
        assert asked == [1]
    finally:
        never.set()


HANGS = """
import asyncio, threading
from pipelines.errors import ServerUnavailableError
from pipelines.web.single_flight import SingleFlightCache
async def main():
    try:
        await SingleFlightCache(threading.Event().wait, fresh_seconds=0).get(0.05)
    except ServerUnavailableError:
        print("given up")
asyncio.run(main())
"""


def test_a_hanging_call_does_not_delay_the_end_of_the_program() -> None:
    command = [sys.executable, "-c", HANGS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "given up\n")


def test_an_error_reaches_the_caller_and_the_next_call_is_made() -> None:
    answers: list[int | Exception] = [DatabaseError("gone"), 5]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_twice() -> int:
        shared = SingleFlightCache(ask, fresh_seconds=-1)
        with pytest.raises(DatabaseError, match="gone"):
            await shared.get(TIMEOUT_SECONDS)
        return await shared.get(TIMEOUT_SECONDS)

    assert run(ask_twice) == 5


async def following(contents: AsyncGenerator[bytes | None, None]) -> bytes | None:
    return await asyncio.wait_for(anext(contents), TIMEOUT_SECONDS)


def test_all_listeners_receive_creation_replacement_and_removal(tmp_path: Path) -> None:
    async def listen() -> None:
        path = tmp_path / "folder" / "file.json"
        feed = FileWatcher(path)
        async with aclosing(feed.contents()) as one, aclosing(feed.contents()) as other:
            for content in (None, b"first", b"second", None):
                if content is not None:
                    path.parent.mkdir(exist_ok=True)
                    partial = tmp_path / "partial"
                    partial.write_bytes(content)
                    partial.replace(path)
                elif path.exists():
                    path.unlink()
                assert await following(one) == content
                assert await following(other) == content
            tasks = [task for task in asyncio.all_tasks() if "_poll" in repr(task)]
            assert len(tasks) == 1
        assert [task for task in asyncio.all_tasks() if "_poll" in repr(task) and not task.cancelling()] == []

    run(listen)


def test_a_slow_listener_receives_the_newest_version(tmp_path: Path) -> None:
    async def listen() -> None:
        path = tmp_path / "file.json"
        feed = FileWatcher(path)
        async with aclosing(feed.contents()) as slow, aclosing(feed.contents()) as quick:
            assert await following(slow) is None
            assert await following(quick) is None
            for content in (b"1", b"22", b"333"):
                path.write_bytes(content)
                assert await following(quick) == content
            assert await following(slow) == b"333"

    run(listen)


def test_a_closed_watcher_ends_its_listeners(tmp_path: Path) -> None:
    async def listen() -> list[bytes | None]:
        feed = FileWatcher(tmp_path / "file.json")
        heard: list[bytes | None] = []
        started = asyncio.Event()

        async def follow() -> None:
            async with aclosing(feed.contents()) as contents:
                async for content in contents:
                    heard.append(content)
                    started.set()

        task = asyncio.create_task(follow())
        await started.wait()
        feed.close()
        await asyncio.wait_for(task, TIMEOUT_SECONDS)
        return heard

    assert run(listen) == [None]
