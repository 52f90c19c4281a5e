"""Faults outside the refresh loop delay no file: reports, locks, other symbols, other feeds, earlier sessions."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from exchange_server import Exchange
from live_sessions import (
    insert_half_an_hour_of_ticks,
    insert_tick,
    insert_ticks_until,
    new_session,
    payload_has,
    read_payload,
    running_in_thread,
    session,
)
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.domain.prices.ticks import Tick
from pipelines.live import refresh_loop
from pipelines.live import session as session_module
from pipelines.live.feeds.exchange import ExchangeFeed
from pipelines.live.probability_writer import probabilities_path
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.storage.live.sessions import LockState, read_lock_state, read_lock_state_async
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

Build = Callable[..., int]


def reasons(output: Path, symbol: str) -> list[str]:
    return list((read_payload(output, symbol) or {"reasons": []})["reasons"])


def session_number(output: Path, symbol: str) -> int | None:
    payload = read_payload(output, symbol)
    return None if payload is None else payload["session"]


def test_a_failing_report_is_logged_and_the_session_continues(database: Database, build: Build, tmp_path: Path) -> None:
    build("TELL", seed=1)
    logged: list[str] = []

    def fails(_: object = None) -> None:
        raise RuntimeError("report\nfailed")

    insert_tick(database, "TELL", 100.0)
    live = new_session(database, tmp_path, "TELL", log=logged.append, on_start=fails, on_report=fails)
    with running_in_thread(live) as raised:
        wait_until(lambda: any("report failed" in text for text in logged), "the failure to be logged")
        insert_tick(database, "TELL", 100.5)
        wait_until(payload_has(tmp_path, "TELL", current_price=100.5), "the session to go on")
    assert isinstance(raised[0], asyncio.CancelledError), "it ended by cancellation"
    assert "start callback: RuntimeError: report failed" in logged


@pytest.mark.embedded_only
def test_refreshes_are_not_logged(database: Database, build: Build, tmp_path: Path) -> None:
    """Only changes are logged: a line per refresh would fill the log."""
    build("QUIET", seed=1)
    insert_half_an_hour_of_ticks(database, "QUIET", 100.0)
    logged: list[str] = []
    with running_in_thread(new_session(database, tmp_path, "QUIET", log=logged.append)):
        for number in range(1, 61):
            insert_tick(database, "QUIET", 100.0 + number / 1000)
            wait_until(payload_has(tmp_path, "QUIET", current_price=100.0 + number / 1000), "the refresh")
    assert len(logged) <= 5, logged


def test_a_session_that_lost_a_cancellation_and_its_connection_ends(
    database: Database, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Python 3.11, when a wait for the pool is cancelled as a connection becomes available."""
    build("DEAF", seed=1)
    waiting = threading.Event()

    async def ignores_cancellation(connection: AsyncConnection) -> LockState:
        if not waiting.is_set():
            waiting.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        return await read_lock_state_async(connection)

    monkeypatch.setattr(session_module, "read_lock_state_async", ignores_cancellation)
    live = new_session(database, tmp_path, "DEAF", period=timedelta(seconds=2))
    with running_in_thread(live) as raised:
        assert waiting.wait(TIMEOUT_SECONDS)
        with database.connect("test", None, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [read_lock_state(connection).holder_pid])
        wait_until(lambda: raised, "its end")
    assert not isinstance(raised[0], asyncio.CancelledError), "it raises its cause"


@pytest.mark.embedded_only
def test_a_locked_table_delays_rows_but_no_file(database: Database, build: Build, tmp_path: Path) -> None:
    build("LOCKED", seed=1)
    insert_half_an_hour_of_ticks(database, "LOCKED", 100.0)
    with session(database, tmp_path, "LOCKED"):
        insert_ticks_until(database, tmp_path, "LOCKED", 100.0, "a fresh file", status="ok")
        before = session_number(tmp_path, "LOCKED")
        with database.connect("maintenance", None) as holder:
            holder.execute("LOCK TABLE live_data.answer IN ACCESS EXCLUSIVE MODE")
            holder.execute("LOCK TABLE live_data.session_snapshots IN ACCESS EXCLUSIVE MODE")
            since = datetime.now(UTC)
            timestamps: set[str] = set()
            while datetime.now(UTC) - since < timedelta(seconds=8):  # longer than HANG_SECONDS
                insert_tick(database, "LOCKED", 100.0)
                wait_until(
                    lambda: (read_payload(tmp_path, "LOCKED") or {})["timestamp"] not in timestamps, "a new file"
                )
                timestamps.add((read_payload(tmp_path, "LOCKED") or {})["timestamp"])
        assert session_number(tmp_path, "LOCKED") == before, "the session was not replaced"

        def is_stored() -> bool:
            with database.connect("test", Role.READER) as connection:
                row = connection.execute("SELECT count(*) FROM live_data.answer WHERE symbol = 'LOCKED'").fetchone()
            return row is not None and row[0] > 0

        wait_until(is_stored, "the answers to be stored")


@pytest.mark.embedded_only
def test_a_file_that_cannot_be_written_affects_no_other_symbol(
    database: Database, build: Build, tmp_path: Path
) -> None:
    for symbol in ("BLOCKED", "FREE"):
        build(symbol, seed=1)
        insert_half_an_hour_of_ticks(database, symbol, 100.0)
    probabilities_path(tmp_path, "BLOCKED").mkdir()  # a file cannot be renamed over a folder
    with session(database, tmp_path, "BLOCKED", "FREE"):
        insert_ticks_until(database, tmp_path, "FREE", 100.25, "the other symbol's file", status="ok")
        probabilities_path(tmp_path, "BLOCKED").rmdir()
        wait_until(payload_has(tmp_path, "BLOCKED", current_price=100.0), "its own file, once it can be written")


@pytest.mark.embedded_only
@pytest.mark.parametrize("error", [TypeError("unsupported operand"), IndexError("out of range")])
def test_a_bug_in_one_symbols_refresh_affects_no_other_symbol(
    database: Database, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    buggy, sound = f"BUG{type(error).__name__[0]}", f"SOUND{type(error).__name__[0]}"
    for symbol in (buggy, sound):
        build(symbol, seed=1)
        insert_half_an_hour_of_ticks(database, symbol, 100.0)
    logged: list[str] = []
    works = SymbolRefresher.refresh

    async def fails(self: SymbolRefresher, *arguments: Any) -> str | None:
        if self.symbol == buggy:
            raise error
        return await works(self, *arguments)

    with running_in_thread(new_session(database, tmp_path, buggy, sound, log=logged.append)):
        with monkeypatch.context() as patch:
            patch.setattr(SymbolRefresher, "refresh", fails)
            insert_ticks_until(database, tmp_path, sound, 100.25, "the other symbol's file", status="ok")
            wait_until(
                lambda: any(f"{buggy}: {type(error).__name__}: {error} (fails" in text for text in logged), "a log line"
            )
        insert_ticks_until(database, tmp_path, buggy, 100.5, "its own file, once the bug is gone")


def test_a_bug_in_one_symbols_ticks_affects_no_other_symbol(
    database: Database, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("BUGTICK", "SOUNDTICK"):
        build(symbol, seed=1)
        insert_half_an_hour_of_ticks(database, symbol, 100.0)
    logged: list[str] = []
    works = SymbolRefresher.add_tick

    def fails(self: SymbolRefresher, tick: Tick) -> bool:
        if self.symbol == "BUGTICK":
            raise TypeError("unsupported operand")
        return works(self, tick)

    with running_in_thread(new_session(database, tmp_path, "BUGTICK", "SOUNDTICK", log=logged.append)):
        with monkeypatch.context() as patch:
            patch.setattr(SymbolRefresher, "add_tick", fails)
            for _ in range(3):
                insert_tick(database, "BUGTICK", 100.25)
            insert_ticks_until(database, tmp_path, "SOUNDTICK", 100.25, "the other symbol's file", status="ok")
            wait_until(lambda: any("TypeError" in reason for reason in reasons(tmp_path, "BUGTICK")), "the reason")
        assert sum("BUGTICK: TypeError: unsupported operand (fails" in text for text in logged) == 1
        insert_ticks_until(database, tmp_path, "BUGTICK", 100.5, "its own file, once the bug is gone")
        assert not any("TypeError" in reason for reason in reasons(tmp_path, "BUGTICK"))


@pytest.mark.embedded_only
def test_an_unreadable_generation_affects_no_other_symbol(database: Database, build: Build, tmp_path: Path) -> None:
    broken, _ = build("BROKEN", seed=1), build("WHOLE", seed=1)
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE analytics.model_version SET config = '{\"lags\": 1}' WHERE generation = %s", [broken]
        )
    for symbol in ("BROKEN", "WHOLE"):
        insert_half_an_hour_of_ticks(database, symbol, 100.0)
    with session(database, tmp_path, "BROKEN", "WHOLE"):
        insert_tick(database, "BROKEN", 100.25)
        insert_ticks_until(database, tmp_path, "WHOLE", 100.25, "the other symbol's file", status="ok")
        wait_until(payload_has(tmp_path, "BROKEN", current_price=100.25), "a file with the reason")
        payload = read_payload(tmp_path, "BROKEN")
    assert payload is not None
    assert any(reason.startswith(f"generation {broken} cannot be read: ") for reason in payload["reasons"])


def test_more_ticks_than_one_batch_are_all_read(
    database: Database, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("MANY", seed=1)
    insert_half_an_hour_of_ticks(database, "MANY", 100.0)
    monkeypatch.setattr(refresh_loop, "TICK_BATCH_SIZE", 5)
    insert_tick(database, "MANY", 100.25)
    with running_in_thread(new_session(database, tmp_path, "MANY")):
        wait_until(payload_has(tmp_path, "MANY", current_price=100.25), "the newest price in the first file")
        payload = read_payload(tmp_path, "MANY")
    assert payload is not None
    assert payload["momentum_score"] is not None


@pytest.mark.embedded_only
def test_replayed_ticks_do_not_enter_the_history_of_real_ones(database: Database, build: Build, tmp_path: Path) -> None:
    build("MIXED", seed=1)
    insert_half_an_hour_of_ticks(database, "MIXED", 100.0)
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
            "SELECT 'MIXED', ticked_at + interval '20 seconds', 900, 'replay' FROM live_data.price_log WHERE symbol = 'MIXED'"
        )
    insert_tick(database, "MIXED", 100.0)
    with session(database, tmp_path, "MIXED"):
        wait_until(payload_has(tmp_path, "MIXED", current_price=100.0), "a file of the real price")
        payload = read_payload(tmp_path, "MIXED")
    assert payload is not None
    assert payload["momentum_score"] == 0.0


def test_totals_continue_after_a_session_without_a_snapshot(database: Database, build: Build, tmp_path: Path) -> None:
    build("COUNTS", seed=1)

    def totals() -> list[tuple[str, float]]:
        with database.connect("test", Role.READER) as connection:
            return connection.execute(
                "SELECT session_id, (config -> 'totals' ->> 'cycles')::float8 FROM live_data.session_snapshots "
                "ORDER BY snapshot_id"
            ).fetchall()

    insert_tick(database, "COUNTS", 100.0)
    with running_in_thread(new_session(database, tmp_path, "COUNTS")):
        wait_until(lambda: session_number(tmp_path, "COUNTS") is not None, "a first session")
        insert_tick(database, "COUNTS", 100.1)
        wait_until(payload_has(tmp_path, "COUNTS", current_price=100.1), "some refreshes")
    counted = totals()[-1][1]
    with database.connect("test", None) as connection:  # crashed before its first snapshot
        connection.execute("INSERT INTO live_data.session (symbols) VALUES ('{COUNTS}')")
    with running_in_thread(new_session(database, tmp_path, "COUNTS")) as raised:
        wait_until(lambda: totals()[-1][1] > counted, "the next session to continue from there")
    assert isinstance(raised[0], asyncio.CancelledError)


def test_a_standby_has_connected_to_the_exchange(
    database: Database, build: Build, exchange: Exchange, tmp_path: Path
) -> None:
    build("BTC", seed=1)

    def feed(_: object) -> ExchangeFeed:
        return ExchangeFeed(exchange.settings(websocket=True), {"BTC": "BTC/USD"})

    first = new_session(database, tmp_path, "BTC", feed=feed)
    with running_in_thread(first):
        wait_until(payload_has(tmp_path, "BTC", current_price=100_000.0), "the exchange's price")
        earlier = session_number(tmp_path, "BTC")
        logged: list[str] = []
        second = new_session(database, tmp_path, "BTC", feed=feed, wait=True, log=logged.append)
        with running_in_thread(second):
            wait_until(lambda: len(exchange.sockets) >= 2, "the standby to connect")
            wait_until(lambda: "another session is running: waiting to take over" in logged, "the standby to wait")
            assert session_number(tmp_path, "BTC") == earlier
            with database.connect("test", None) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7319002 "
                    "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            exchange.tick("BTC", 100_010.0)
            wait_until(lambda: session_number(tmp_path, "BTC") not in (None, earlier), "the standby to write")
            wait_until(payload_has(tmp_path, "BTC", current_price=100_010.0), "the newest price")
            connections = [path for path in exchange.requests if path.endswith("/ws")]
            assert len(connections) == 2, "no new connection at the take-over"
