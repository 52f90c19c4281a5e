"""A session with outdated settings or recordings hands over at once, and files of removed symbols say so."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from live_sessions import new_session, payload_has, read_payload, running_in_thread
from waiting import wait_until

from pipelines.live.feeds.factory import replay_factory
from pipelines.live.session import REPLACED
from pipelines.orchestration.sensors import wanted_because
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]


def wants_successor(database: Database) -> bool:
    """Whether the sensor requests a run: minutes before the hour it does so anyway."""
    now = datetime.now(UTC)
    with database.connect("test", Role.PIPELINE) as connection:
        state = read_lock_state(connection)
    assert state.hands_over_at is not None
    return state.hands_over_at <= now and wanted_because(state, now, hot_standby=False) is not None


def test_new_settings_are_taken_over_at_once(database: Database, build: Build, tmp_path: Path) -> None:
    build("KEPT", seed=1)
    outdated = threading.Event()
    first = new_session(database, tmp_path, "KEPT", "GONE", is_outdated=outdated.is_set)
    with running_in_thread(first) as raised:
        wait_until(lambda: read_payload(tmp_path, "GONE"), "the files of the first session")
        (tmp_path / "other_live_probabilities.json").write_text("no JSON")
        assert not wants_successor(database)
        outdated.set()
        wait_until(lambda: wants_successor(database), "the request of a successor")
        before = read_payload(tmp_path, "KEPT")
        assert before is not None
        with running_in_thread(new_session(database, tmp_path, "KEPT", "ADDED", wait=True)):
            wait_until(lambda: read_payload(tmp_path, "ADDED"), "the new symbol's file")
            reason = "GONE is no longer configured: its file is not refreshed"
            wait_until(payload_has(tmp_path, "GONE", reasons=[reason], status="stale"), "the removed symbol's file")
            wait_until(payload_has(tmp_path, "KEPT", session=before["session"] + 1), "the file of the other symbol")
    assert raised == []
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT status, ended_because FROM live_data.session WHERE session_id = %s", [before["session"]]
        ).fetchone()
    assert row == ("stopped", REPLACED)
    assert (tmp_path / "other_live_probabilities.json").read_text() == "no JSON"


def test_a_replay_hands_over_when_a_symbol_gets_its_first_bars(
    database: Database, build: Build, tmp_path: Path
) -> None:
    with running_in_thread(new_session(database, tmp_path, "FRESH", feed=replay_factory(["FRESH"]))):
        wait_until(lambda: read_payload(tmp_path, "FRESH"), "a file without a price")
        with database.connect("test", None) as connection:
            connection.execute("SELECT historical_data.create_symbol_partitions('FRESH')")
            connection.execute(
                "INSERT INTO historical_data.price_history SELECT 'FRESH', '2026-01-01Z'::timestamptz "
                "+ m * interval '1 minute', 100, 100.05, 100, 100.02, 1 FROM generate_series(0, 100) AS m"
            )
        build("FRESH", seed=1)
        wait_until(lambda: wants_successor(database), "the request of a successor")
        successor = new_session(database, tmp_path, "FRESH", feed=replay_factory(["FRESH"]), wait=True)
        with running_in_thread(successor):
            wait_until(payload_has(tmp_path, "FRESH", status="replay"), "replayed prices")
