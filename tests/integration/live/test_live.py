"""The live session: complete files, fresh or marked as stale, from one writer."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import psycopg
import pytest
from live_sessions import (
    insert_half_an_hour_of_ticks,
    insert_tick,
    insert_ticks_until,
    leader_is_alive,
    payload_has,
    read_payload,
    session,
    wait_for_end,
)
from waiting import wait_until

from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderQuery, ladder_strikes_usd
from pipelines.errors import AlreadyRunningError
from pipelines.evaluation.fingerprint_files import read_fingerprint_files
from pipelines.evaluation.parity import import_tables
from pipelines.live.feeds.base import Feed
from pipelines.live.probability_writer import ProbabilityFileWriter, probabilities_path
from pipelines.live.session import LiveSession
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_lookup_rows
from pipelines.storage.postgres.connection import Connection, Database, Role

Build = Callable[..., int]


def no_feed(_: Connection) -> Feed:
    return Feed()


def test_a_tick_becomes_the_answers_of_the_published_lookup(database: Database, build: Build, tmp_path: Path) -> None:
    generation = build("TICK", seed=1)
    insert_half_an_hour_of_ticks(database, "TICK", 100.0)
    with session(database, tmp_path, "TICK"):
        payload = insert_ticks_until(database, tmp_path, "TICK", 100.01, "the tick in the file", status="ok")
    assert payload["momentum_bucket"] == 1
    assert payload["fingerprint_table"] == "tick_fingerprint_directional_momentum_001"
    assert payload["model_version"] == generation
    with database.connect("test", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, "TICK"))
        rows = read_lookup_rows(connection, version, 1, payload["ttc_seconds"])
    strikes, states = ladder_strikes_usd(100.01, 0.25), MarketStates.single(0.0, payload["momentum_score"])
    query = LadderQuery(version.rule, version.axes, states, 100.01, strikes, payload["ttc_seconds"])
    assert payload["probabilities"] == query.answer_from_lookup(rows).rows()


def test_a_stopped_source_makes_the_file_stale_until_the_next_tick(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("STALE", seed=1)
    insert_half_an_hour_of_ticks(database, "STALE", 100.0)
    with session(database, tmp_path, "STALE"):
        insert_ticks_until(database, tmp_path, "STALE", 100.0, "a fresh file", status="ok")
        wait_until(payload_has(tmp_path, "STALE", status="stale"), "a stale file")
        payload = read_payload(tmp_path, "STALE")
        assert payload is not None
        assert payload["price_age_ms"] > 2_000
        insert_ticks_until(database, tmp_path, "STALE", 100.02, "a fresh file again", status="ok")


def test_without_momentum_the_baseline_answers(database: Database, build: Build, tmp_path: Path) -> None:
    build("BASE", seed=1)
    with session(database, tmp_path, "BASE"):
        payload = insert_ticks_until(database, tmp_path, "BASE", 100.0, "a degraded file", status="degraded")
    assert payload["momentum_score"] is None
    assert payload["fingerprint_table"] == "base_fingerprint_directional_baseline"
    assert payload["reasons"] == [
        "momentum is not known (no price 1, 2, 3, 4, 15, 30 minutes ago): the baseline answers"
    ]
    assert payload["probabilities"][0]["prob_beyond"] is not None


def test_a_symbol_without_a_generation_does_not_affect_others(database: Database, build: Build, tmp_path: Path) -> None:
    build("GOOD", seed=1)
    insert_half_an_hour_of_ticks(database, "GOOD", 100.0)
    with session(database, tmp_path, "NOGEN", "GOOD", "NOTICK"):
        insert_tick(database, "NOGEN", 100.0)
        insert_tick(database, "GOOD", 100.0)
        wait_until(payload_has(tmp_path, "NOGEN", current_price=100.0), "a file of the symbol without a generation")
        insert_ticks_until(database, tmp_path, "GOOD", 100.02, "the good symbol's file", status="ok")
        payload = read_payload(tmp_path, "NOGEN")
    assert payload is not None
    assert payload["reasons"][0] == "no generation is published for NOGEN"
    assert {row["prob_beyond"] for row in payload["probabilities"]} == {None}
    without_tick = read_payload(tmp_path, "NOTICK")
    assert without_tick is not None
    assert without_tick["current_price"] is None
    assert without_tick["reasons"] == [
        "no price of NOTICK has arrived yet (source: external)",
        "no generation is published for NOTICK",
    ]


def test_a_running_session_uses_a_published_generation(database: Database, build: Build, tmp_path: Path) -> None:
    build("NEW", seed=1)
    insert_half_an_hour_of_ticks(database, "NEW", 100.0)
    with session(database, tmp_path, "NEW"):
        insert_tick(database, "NEW", 100.0)
        wait_until(payload_has(tmp_path, "NEW", current_price=100.0), "a first file")
        second = build("NEW", seed=2)
        wait_until(payload_has(tmp_path, "NEW", model_version=second), "the new generation in the file")


def test_one_session_runs_at_a_time_and_a_killed_one_is_succeeded(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("ONE", seed=1)
    with session(database, tmp_path, "ONE") as first:
        with pytest.raises(AlreadyRunningError):
            LiveSession(database, tmp_path, {"ONE": 0.25}, no_feed).run(once=True)
        first.send_signal(signal.SIGKILL)
        first.wait()
        wait_until(lambda: not leader_is_alive(database), "the lock to go with the process")
        insert_tick(database, "ONE", 100.0)
        LiveSession(database, tmp_path, {"ONE": 0.25}, no_feed).run(once=True)
    assert read_payload(tmp_path, "ONE") is not None
    with database.connect("test", Role.READER) as connection:
        states = connection.execute(
            "SELECT status FROM live_data.session WHERE symbols = '{ONE}' ORDER BY session_id"
        ).fetchall()
    assert states == [("crashed",), ("stopped",)]


def test_a_session_that_loses_its_database_ends_with_an_error(database: Database, build: Build, tmp_path: Path) -> None:
    build("LOST", seed=1)
    with session(database, tmp_path, "LOST") as child:
        with database.connect("test", None, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'strikecast live session'"
            )
        assert wait_for_end(child) != 0


def test_the_replay_feed_provides_momentum_at_once(database: Database, build: Build, tmp_path: Path) -> None:
    build("PLAY", seed=1)
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('PLAY')")
        connection.execute(
            "INSERT INTO historical_data.price_history SELECT 'PLAY', '2026-01-01Z'::timestamptz + m * interval '1 minute', "
            "100, 100.05, 100, 100.02, 1 FROM generate_series(0, 1500) AS m"
        )
    with session(database, tmp_path, "PLAY", feed="replay"):
        wait_until(payload_has(tmp_path, "PLAY", status="replay"), "a fresh file")
        first = read_payload(tmp_path, "PLAY")
        assert first is not None
        assert first["momentum_bucket"] is not None
        wait_until(lambda: (read_payload(tmp_path, "PLAY") or {})["timestamp"] > first["timestamp"], "a refresh")
    assert first["source"] == "replay"
    assert "2026-01-01T01:01" <= first["replayed_timestamp"] <= "2026-01-02T01:01"


def test_a_reader_never_sees_a_partial_file(tmp_path: Path) -> None:
    files = ProbabilityFileWriter(tmp_path)
    files.claim(1, "here")
    files.write("X", {"n": -1, "rows": []})
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            files.write("X", {"n": n, "rows": [n] * (n % 2000)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10_000):
            payload = orjson.loads(probabilities_path(tmp_path, "X").read_bytes())
            assert set(payload["rows"]) <= {payload["n"]}
    finally:
        stop.set()
        writer.join()
        files.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".session", "x_live_probabilities.json"]


def test_the_database_refuses_absurd_prices(database: Database) -> None:
    for price in ("NaN", "Infinity", "-1", "0"):
        with database.connect("producer", Role.LIVE) as connection, pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('BAD', now(), %s, 'test')",
                [price],
            )


def test_imported_tables_without_a_baseline_answer_once_momentum_is_known(
    database: Database, reference: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    symbol = f"BARE{request.node.callspec.params['reference'].upper()}"  # separate ticks
    folder = tmp_path / "old"
    folder.mkdir()
    name = "btc_fingerprint_directional_momentum_000.csv"
    (folder / name).write_bytes((reference / name).read_bytes())
    import_tables(database, symbol, read_fingerprint_files(folder, "BTC"), publish_it=True)
    insert_tick(database, symbol, 100.0)
    LiveSession(database, tmp_path, {symbol: 0.25}, no_feed).run(once=True)
    payload = read_payload(tmp_path, symbol)
    assert payload is not None
    assert payload["reasons"][0] == f"there is neither momentum nor a baseline for {symbol}"
    assert {row["prob_beyond"] for row in payload["probabilities"]} == {None}
    insert_half_an_hour_of_ticks(database, symbol, 100.0)
    insert_tick(database, symbol, 100.0)
    LiveSession(database, tmp_path, {symbol: 0.25}, no_feed).run(once=True)
    answered = read_payload(tmp_path, symbol)
    assert answered is not None
    assert answered["momentum_bucket"] == 0
    assert {row["prob_beyond"] is None for row in answered["probabilities"]} == {False}
    assert answered["n_eff"] is None
