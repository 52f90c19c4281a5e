"""One session writes at a time; a successor takes over when it ends, is killed, hangs or is overtaken."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from live_sessions import insert_tick, kill, payload_has, read_payload, session, start_session, wait_for_end
from waiting import avoid_hour_boundary, wait_until

from pipelines.errors import AlreadyRunningError, SupersededError
from pipelines.live.probability_writer import FENCE, ProbabilityFileWriter, probabilities_path
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.live.state_store import StateStore
from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]


def rows(database: Database, symbol: str) -> list[dict[str, Any]]:
    """Sessions of a symbol, oldest first."""
    with database.connect("test", Role.READER) as connection:
        found = connection.execute(
            "SELECT session_id, status, resumed_from, ended_because, cycles FROM live_data.session "
            "WHERE symbols = %s ORDER BY session_id",
            [[symbol]],
        ).fetchall()
    return [dict(zip(("session", "status", "before", "because", "cycles"), row, strict=True)) for row in found]


def waiting(database: Database) -> int:
    with database.connect("test", Role.READER) as connection:
        return read_lock_state(connection).waiting


@contextmanager
def standby(database: Database, output: Path, symbol: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A second session that waits for the first to end."""
    before = waiting(database)
    child = start_session(database, output, symbol, **options)
    try:
        wait_until(lambda: waiting(database) > before, "the second session to wait")
        yield child
    finally:
        kill(child)


def states(database: Database, number: int) -> list[tuple[str, str]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(
            "SELECT snapshot_type, status FROM live_data.session_snapshots WHERE session_id = %s ORDER BY snapshot_id",
            [f"live-{number}"],
        ).fetchall()


def insert_bars(database: Database, symbol: str) -> None:
    """Insert a day of bars to replay."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions(%s)", [symbol])
        connection.execute(
            "INSERT INTO historical_data.price_history SELECT %s, '2026-01-01Z'::timestamptz + m * interval '1 minute', "
            "100, 100.05, 100, 100.02, 1 FROM generate_series(0, 1500) AS m",
            [symbol],
        )


def written_at(output: Path, symbol: str) -> float | None:
    path = probabilities_path(output, symbol)
    return path.stat().st_mtime if path.exists() else None


@pytest.mark.embedded_only
def test_sessions_hand_over_in_order(database: Database, build: Build, tmp_path: Path) -> None:
    build("OVER", seed=1)
    insert_bars(database, "OVER")
    versions: list[tuple[float, int]] = []

    def has_two_hand_overs() -> bool:
        at, payload = written_at(tmp_path, "OVER"), read_payload(tmp_path, "OVER")
        if at is not None and payload is not None and (not versions or at != versions[-1][0]):
            versions.append((at, payload["session"]))
        return len({number for _, number in versions}) == 3 and versions[-1][0] - versions[0][0] > 8

    with ExitStack() as stack:
        for _ in range(3):
            child = start_session(database, tmp_path, "OVER", feed="replay", period_seconds=4)
            stack.callback(kill, child)
        wait_until(has_two_hand_overs, "two hand-overs")
        numbers = [number for _, number in versions]
        assert numbers == sorted(numbers), "no session writes after its successor"
    first, second, third = rows(database, "OVER")
    assert (first["status"], first["because"]) == ("stopped", "handed over when its market closed")
    assert second["status"] == "stopped"
    assert (second["before"], third["before"]) == (first["session"], second["session"])
    assert states(database, first["session"])[0] == ("initial", "running")
    assert states(database, first["session"])[-1] == ("on_stop", "stopped")


@pytest.mark.embedded_only
def test_a_successor_continues_the_totals(database: Database, build: Build, tmp_path: Path) -> None:
    build("SUMS", seed=1)
    insert_bars(database, "SUMS")
    for count in (1, 2):
        with session(database, tmp_path, "SUMS", feed="replay") as child:
            wait_until(partial(lambda n: len(rows(database, "SUMS")) == n, count), "its row")
            number = rows(database, "SUMS")[-1]["session"]
            wait_until(partial(states, database, number), "a first snapshot")
            wait_until(payload_has(tmp_path, "SUMS", session=number), "its file")
            child.send_signal(signal.SIGTERM)
            wait_for_end(child)
    first, second = rows(database, "SUMS")
    with database.connect("test", Role.READER) as connection:
        store = StateStore(connection)
        loops = [store.load_latest(f"live-{row['session']}")["session"]["loop_count"] for row in (first, second)]
    assert loops[1] - loops[0] == second["cycles"] > 0


def test_without_a_successor_a_session_continues_after_its_hour(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("ALONE", seed=1)
    insert_bars(database, "ALONE")
    with session(database, tmp_path, "ALONE", feed="replay", period_seconds=1) as child:
        wait_until(lambda: (rows(database, "ALONE") or [{"cycles": 0}])[-1]["cycles"] > 5, "five refreshes")
        assert child.poll() is None
        assert rows(database, "ALONE")[-1]["status"] == "running"
        successor = start_session(database, tmp_path, "ALONE", feed="replay")  # waits only briefly
        try:
            assert wait_for_end(child) == 0
        finally:
            kill(successor)


@pytest.mark.embedded_only
def test_a_standby_succeeds_a_killed_session(database: Database, build: Build, tmp_path: Path) -> None:
    build("KILL", seed=1)
    insert_bars(database, "KILL")
    with session(database, tmp_path, "KILL", feed="replay") as first:
        wait_until(lambda: read_payload(tmp_path, "KILL"), "a file")
        number = rows(database, "KILL")[0]["session"]
        wait_until(lambda: states(database, number), "a snapshot")
        with standby(database, tmp_path, "KILL", feed="replay"):
            first.send_signal(signal.SIGKILL)
            wait_until(lambda: (read_payload(tmp_path, "KILL") or {})["session"] > number, "the successor's file")
            wait_until(
                lambda: states(database, number)[-1] == ("on_stop", "crashed"),
                "the final snapshot of the killed session",
            )
    assert rows(database, "KILL")[0]["status"] == "crashed"


def test_a_paused_session_is_replaced_and_writes_nothing_when_it_resumes(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("PAUSE", seed=1)
    insert_bars(database, "PAUSE")
    with session(database, tmp_path, "PAUSE", feed="replay") as first:
        wait_until(lambda: read_payload(tmp_path, "PAUSE"), "a file")
        number = rows(database, "PAUSE")[0]["session"]
        with standby(database, tmp_path, "PAUSE", feed="replay"):
            first.send_signal(signal.SIGSTOP)
            wait_until(lambda: (read_payload(tmp_path, "PAUSE") or {})["session"] > number, "the successor's file")
            ticks = count_ticks(database, "PAUSE")
            first.send_signal(signal.SIGCONT)
            assert wait_for_end(first) != 0, "it ends with an error"
            wait_until(lambda: count_ticks(database, "PAUSE") > ticks + 2, "the successor's ticks")
            wait_until(payload_has(tmp_path, "PAUSE", status="replay"), "a fresh file")
            payload = read_payload(tmp_path, "PAUSE")
            assert payload is not None
            assert payload["session"] > number
    assert rows(database, "PAUSE")[0]["status"] == "crashed"


def count_ticks(database: Database, symbol: str) -> int:
    with database.connect("test", Role.READER) as connection:
        row = connection.execute("SELECT count(*) FROM live_data.price_log WHERE symbol = %s", [symbol]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_cancelled_standby_leaves_no_record(database: Database, build: Build, tmp_path: Path) -> None:
    build("LEAVE", seed=1)
    with session(database, tmp_path, "LEAVE"):
        insert_tick(database, "LEAVE", 100.0)
        wait_until(lambda: read_payload(tmp_path, "LEAVE"), "a file")
        with standby(database, tmp_path, "LEAVE") as second:
            second.send_signal(signal.SIGTERM)
            wait_for_end(second)
            wait_until(lambda: not waiting(database), "it to leave the queue")
    assert len(rows(database, "LEAVE")) == 1


def test_a_cancelled_session_writes_a_final_file_and_snapshot(database: Database, build: Build, tmp_path: Path) -> None:
    build("STOP", seed=1)
    insert_bars(database, "STOP")
    with session(database, tmp_path, "STOP", feed="replay") as child:
        wait_until(payload_has(tmp_path, "STOP", status="replay"), "a fresh file")
        child.send_signal(signal.SIGTERM)
        wait_for_end(child)
    payload = read_payload(tmp_path, "STOP")
    assert payload is not None
    assert payload["status"] == "stale", "it will not be refreshed"
    assert payload["reasons"] == ["the live session ended: stopped by SIGTERM"]
    last = rows(database, "STOP")[-1]
    assert (last["status"], last["because"]) == ("stopped", "stopped by SIGTERM")
    assert states(database, last["session"])[-1] == ("on_stop", "stopped")


def test_a_killed_standby_leaves_the_queue(database: Database, build: Build, tmp_path: Path) -> None:
    build("QUEUE", seed=1)
    with session(database, tmp_path, "QUEUE"):
        child = start_session(database, tmp_path, "QUEUE")
        wait_until(lambda: waiting(database) == 1, "the second session to wait")
        kill(child)
        wait_until(lambda: waiting(database) == 0, "the server to notice")


# Fencing of the files


def test_an_overtaken_session_can_neither_write_nor_claim(tmp_path: Path) -> None:
    old, new = ProbabilityFileWriter(tmp_path), ProbabilityFileWriter(tmp_path)
    old.claim(1, "here")
    old.write("X", {"session": 1})
    new.claim(2, "here")
    with pytest.raises(SupersededError):
        old.write("X", {"session": 1, "late": True})
    with pytest.raises(SupersededError, match="session 2 took over while session 1 was paused"):
        old.claim(1, "here")
    new.write("X", {"session": 2})
    assert orjson.loads(probabilities_path(tmp_path, "X").read_bytes()) == {"session": 2}
    assert not list(tmp_path.glob(".*.partial"))


def test_nothing_is_written_before_a_claim(tmp_path: Path) -> None:
    with pytest.raises(SupersededError):
        ProbabilityFileWriter(tmp_path).write("X", {})
    assert not probabilities_path(tmp_path, "X").exists()


def test_a_session_of_a_restored_database_may_claim_with_a_lower_number(tmp_path: Path) -> None:
    before, restored = ProbabilityFileWriter(tmp_path), ProbabilityFileWriter(tmp_path)
    before.claim(57, "old server/1")
    restored.claim(3, "new server/1")
    with pytest.raises(SupersededError):
        before.write("X", {})


def test_a_damaged_fencing_token_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FENCE).write_bytes(b'{"session": 5, "data')
    files = ProbabilityFileWriter(tmp_path)
    files.claim(6, "here")
    files.write("X", {})
    assert probabilities_path(tmp_path, "X").exists()


HOLDER = """
import fcntl, sys, time
from pathlib import Path
from pipelines.live.probability_writer import ProbabilityFileWriter
files = ProbabilityFileWriter(Path(sys.argv[1]))
files.claim(1, "here")
fcntl.flock(files._fence, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


def test_a_session_paused_in_mid_write_is_killed_by_its_successor(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        holder.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED, "it to stop")
        files = ProbabilityFileWriter(tmp_path)
        files.claim(2, "here")
        wait_until(lambda: holder.poll() is not None, "it to be killed")
        files.write("X", {"session": 2})
    finally:
        holder.kill()
        holder.wait()


def test_an_overtaken_session_kills_no_process(tmp_path: Path) -> None:
    old = ProbabilityFileWriter(tmp_path)
    old.claim(0, "here")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(SupersededError):
            old.write("X", {"session": 0})
        with pytest.raises(AlreadyRunningError, match="has been locked"):
            old.claim(0, "here")
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_held_by_an_unknown_process_is_an_error(tmp_path: Path) -> None:
    files = ProbabilityFileWriter(tmp_path)
    other = os.open(tmp_path / FENCE, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(AlreadyRunningError, match="has been locked"):
            files.claim(1, "here")
    finally:
        os.close(other)
    files.claim(1, "here")


def test_a_session_hands_over_at_the_hour(database: Database, build: Build, tmp_path: Path) -> None:
    build("HOUR", seed=1)
    avoid_hour_boundary()
    with session(database, tmp_path, "HOUR", period_seconds=3_600.0):
        wait_until(lambda: rows(database, "HOUR"), "its row")
        with database.connect("test", Role.READER) as connection:
            state = read_lock_state(connection)
    assert state.hands_over_at is not None
    assert 0 < (state.hands_over_at - datetime.now(UTC)).total_seconds() <= 3600
    assert state.hands_over_at.minute == state.hands_over_at.second == 0
