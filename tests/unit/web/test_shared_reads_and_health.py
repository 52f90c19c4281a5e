"""The single-flight cache, the file watcher, and the health report."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from sample_ladders import ladder
from sample_strike_tables import ABOVE, strike_table
from waiting import TIMEOUT_SECONDS

from pipelines.domain.models.freshness import SessionState
from pipelines.errors import DatabaseError, ServerUnavailableError
from pipelines.live.probability_reader import View, view_of
from pipelines.live.strike_table_reader import TableName, TableView, table_of
from pipelines.storage.live.health_queries import DatabaseHealth
from pipelines.web.health import health_report
from pipelines.web.shared_reads import FileWatcher, SingleFlightCache

Result = TypeVar("Result")
NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
ALIVE = SessionState(True, session_id=4, status="running", feed="external", cycles=100, heartbeat_age_seconds=3.0)
HEALTHY = DatabaseHealth({"BTC": 7}, ALIVE)


def run(make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    return asyncio.run(make())


def view(symbol: str = "BTC", age_seconds: float = 0.5) -> View:
    return view_of(symbol, orjson.dumps(ladder(95_100.0, NOW - timedelta(seconds=age_seconds))), NOW)


def problems(views: list[View], found: DatabaseHealth | DatabaseError) -> list[str]:
    report = health_report(views, found, NOW)
    assert report["healthy"] == (not report["problems"])
    return list(report["problems"])


def test_a_healthy_report_has_all_measurements() -> None:
    report = health_report([view()], HEALTHY, NOW)
    assert report["healthy"] is True
    assert report["checks"]["symbols"]["BTC"] == {
        "ok": True,
        "required": True,
        "generation": 7,
        "status": "ok",
        "notice": None,
        "reasons": [],
        "file_age_seconds": 0.5,
        "price_age_seconds": 0.5,
    }
    assert report["checks"]["session"]["session_id"] == 4
    assert report["checks"]["session"]["heartbeat_age_seconds"] == 3.0


def test_an_old_file_is_unhealthy() -> None:
    assert problems([view(age_seconds=3)], HEALTHY) == [
        "BTC: the file is 3.0 s old",
        "BTC: the price is 3.0 s old (feed external)",
    ]


def test_replayed_prices_are_healthy_and_noticed() -> None:
    replayed = ladder(95_100.0, NOW, source="replay", replayed_at=datetime(2025, 7, 1, 8, 30, tzinfo=UTC))
    report = health_report([view_of("BTC", orjson.dumps(replayed), NOW)], HEALTHY, NOW)
    assert report["healthy"] is True
    assert report["notices"] == ["BTC: replayed prices of 2025-07-01 08:30 UTC, not the market's prices now"]
    assert report["checks"]["symbols"]["BTC"]["status"] == "replay"
    degraded = ladder(95_100.0, NOW, source="replay", problems=["momentum is not known"])
    assert health_report([view_of("BTC", orjson.dumps(degraded), NOW)], HEALTHY, NOW)["healthy"] is False


def test_a_symbol_without_a_generation_is_not_required() -> None:
    missing = view_of("ETH", None, NOW)
    assert problems([view(), missing], HEALTHY) == []
    assert problems([view(), missing], DatabaseHealth({"BTC": 7, "ETH": 9}, ALIVE)) != []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (DatabaseHealth({"BTC": 7}, replace(ALIVE, lock_is_held=False)), "session: no live session is running"),
        (
            DatabaseHealth({"BTC": 7}, replace(ALIVE, heartbeat_age_seconds=12.0)),
            "session: the last heartbeat of session 4 is 12 s old",
        ),
        (DatabaseHealth({"BTC": 7}, SessionState(False)), "session: no live session has run yet"),
        (DatabaseHealth({}, ALIVE), "no symbol has a published generation: run `strikecast build`"),
        (ServerUnavailableError("no answer"), "database: no answer"),
    ],
)
def test_each_failure_is_a_problem(found: DatabaseHealth | DatabaseError, problem: str) -> None:
    assert problems([view()], found) == [problem]


def table(age_seconds: float = 0.5, symbol: str = "BTC", **fields: Any) -> TableView:
    payload = strike_table(95_100.0, NOW - timedelta(seconds=age_seconds), symbol=symbol, **fields)
    return table_of(TableName(symbol, ABOVE), orjson.dumps(payload), NOW)


def test_a_strike_table_is_reported_with_its_measurements() -> None:
    report = health_report([view()], HEALTHY, NOW, [table()])
    assert (report["healthy"], report["warnings"]) == (True, [])
    assert report["checks"]["strike_tables"] == {
        "BTC KXBTCD": {
            "ok": True,
            "symbol": "BTC",
            "status": "ok",
            "market_status": "open",
            "reasons": [],
            "file_age_seconds": 0.5,
        }
    }


def test_a_strike_table_that_is_not_written_is_a_problem() -> None:
    late = table(65.0)
    assert health_report([view()], HEALTHY, NOW, [late])["problems"] == [
        "strike table of BTC KXBTCD: the file is not being written: it is 65 s old",
        "strike table of BTC KXBTCD: session 4 runs but does not refresh it",
    ]
    assert health_report([view()], DatabaseHealth({"BTC": 7}, ALIVE), NOW, [table(65.0, "ETH")])["healthy"] is True
    assert health_report([view()], ServerUnavailableError("no answer"), NOW, [late])["healthy"] is False


def test_a_failing_market_feed_and_a_table_to_come_are_warnings() -> None:
    failing = table(market_status="unavailable: events of KXBTCD: timed out")
    coming = table_of(TableName("BTC", "KXBTC", is_first=False), None, NOW)
    report = health_report([view()], HEALTHY, NOW, [failing, coming])
    assert (report["healthy"], report["problems"]) == (True, [])
    assert report["warnings"] == [
        "quotes of BTC KXBTCD are unavailable: events of KXBTCD: timed out",
        "there is no strike table of BTC KXBTC yet: the live session writes it",
    ]
    for state in ("halted: the exchange does not trade", "closed", "no event"):
        assert health_report([view()], HEALTHY, NOW, [table(market_status=state)])["warnings"] == []


def test_an_old_price_is_reported_once() -> None:
    old = view_of("BTC", orjson.dumps(ladder(95_100.0, NOW, price_at=NOW - timedelta(seconds=9))), NOW)
    found = health_report([old], HEALTHY, NOW, [table(status="stale", price_age_ms=8_500)])
    assert found["problems"] == ["BTC: the price is 9.0 s old (feed external)"]
    assert found["checks"]["strike_tables"]["BTC KXBTCD"]["ok"] is True


def test_concurrent_callers_share_one_call() -> None:
    calls = []
    proceed = threading.Event()

    def call() -> int:
        calls.append(1)
        proceed.wait(TIMEOUT_SECONDS)
        return len(calls)

    async def many() -> list[int]:
        cache = SingleFlightCache(call, fresh_seconds=60)
        waiting = [asyncio.create_task(cache.get(TIMEOUT_SECONDS)) for _ in range(20)]
        await asyncio.sleep(0)
        proceed.set()
        return [*await asyncio.gather(*waiting), await cache.get(TIMEOUT_SECONDS)]

    assert run(many) == [1] * 21


def test_a_hanging_call_times_out_and_is_not_repeated() -> None:
    calls = []
    never = threading.Event()

    def call() -> None:
        calls.append(1)
        never.wait(TIMEOUT_SECONDS)

    async def get_twice() -> None:
        cache = SingleFlightCache(call, fresh_seconds=0)
        for _ in range(2):
            with pytest.raises(ServerUnavailableError, match=r"has not answered within 0\.05 s"):
                await cache.get(0.05)

    try:
        run(get_twice)
        assert calls == [1]
    finally:
        never.set()


HANGS = """
import asyncio, threading
from pipelines.domain.models.freshness import SessionState
from pipelines.errors import ServerUnavailableError
from pipelines.web.shared_reads import SingleFlightCache
async def main():
    try:
        await SingleFlightCache(threading.Event().wait, fresh_seconds=0).get(0.05)
    except ServerUnavailableError:
        print("timeout")
asyncio.run(main())
"""


def test_a_hanging_call_does_not_delay_the_end_of_the_program() -> None:
    command = [sys.executable, "-c", HANGS]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert (process.returncode, process.stdout) == (0, "timeout\n")


def test_an_error_reaches_the_caller_and_the_next_call_is_made() -> None:
    answers: list[int | Exception] = [DatabaseError("gone"), 5]

    def call() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_twice() -> int:
        cache = SingleFlightCache(call, fresh_seconds=-1)
        with pytest.raises(DatabaseError, match="gone"):
            await cache.get(TIMEOUT_SECONDS)
        return await cache.get(TIMEOUT_SECONDS)

    assert run(get_twice) == 5


async def next_content(contents: AsyncGenerator[tuple[Path, bytes | None], None]) -> bytes | None:
    return (await asyncio.wait_for(anext(contents), TIMEOUT_SECONDS))[1]


def test_all_listeners_receive_creation_replacement_and_removal(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "folder" / "file.json"
        watcher = FileWatcher(path)
        async with aclosing(watcher.contents()) as one, aclosing(watcher.contents()) as other:
            for content in (None, b"first", b"second", None):
                if content is not None:
                    path.parent.mkdir(exist_ok=True)
                    partial = tmp_path / "partial"
                    partial.write_bytes(content)
                    partial.replace(path)
                elif path.exists():
                    path.unlink()
                assert await next_content(one) == content
                assert await next_content(other) == content

    run(scenario)


def test_a_slow_listener_receives_the_newest_version(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "file.json"
        watcher = FileWatcher(path)
        async with aclosing(watcher.contents()) as slow, aclosing(watcher.contents()) as quick:
            assert await next_content(slow) is None
            assert await next_content(quick) is None
            for content in (b"1", b"22", b"333"):
                path.write_bytes(content)
                assert await next_content(quick) == content
            assert await next_content(slow) == b"333"

    run(scenario)


def test_a_watcher_of_several_files_names_the_one_that_was_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = tmp_path / "first.json", tmp_path / "second.json"
        second.write_bytes(b"2")
        async with aclosing(FileWatcher(first, second).contents()) as contents:
            assert [await anext(contents), await anext(contents)] == [(first, None), (second, b"2")]
            first.write_bytes(b"1")
            assert await asyncio.wait_for(anext(contents), TIMEOUT_SECONDS) == (first, b"1")
            second.write_bytes(b"22")
            assert await asyncio.wait_for(anext(contents), TIMEOUT_SECONDS) == (second, b"22")

    run(scenario)


def test_a_closed_watcher_ends_its_listeners(tmp_path: Path) -> None:
    async def scenario() -> list[bytes | None]:
        watcher = FileWatcher(tmp_path / "file.json")
        received: list[bytes | None] = []
        started = asyncio.Event()

        async def follow() -> None:
            async with aclosing(watcher.contents()) as contents:
                async for _, content in contents:
                    received.append(content)
                    started.set()

        task = asyncio.create_task(follow())
        await started.wait()
        watcher.close()
        await asyncio.wait_for(task, TIMEOUT_SECONDS)
        return received

    assert run(scenario) == [None]
