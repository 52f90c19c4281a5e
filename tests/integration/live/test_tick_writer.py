"""Ticks in the database: partitions by day, features, and no loss while the table cannot be written."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from exchange_server import Exchange, status
from live_sessions import (
    insert_half_an_hour_of_ticks,
    insert_tick,
    payload_has,
    read_payload,
    running_in_thread,
    session,
)
from waiting import wait_until

from pipelines.domain.prices.ticks import DELTA_LAGS_MINUTES, Tick, TickFeatures
from pipelines.live.feeds.exchange import ExchangeFeed
from pipelines.live.probability_writer import ProbabilityFileWriter
from pipelines.live.session import LiveSession
from pipelines.storage.live.day_partitions import create_day_partitions_async, upcoming_days
from pipelines.storage.live.tick_writer import TickRecord, TickWriter
from pipelines.storage.migrations.run import upgrade
from pipelines.storage.postgres import schema
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

Build = Callable[..., int]
NOW = datetime.now(UTC).replace(microsecond=123_000)
WHOLE = TickFeatures(101.5, tuple(0.1 * lag for lag in DELTA_LAGS_MINUTES), 0.25, ())
PARTIAL = TickFeatures(101.5, (0.1, None, None, None, None, None), 0.1, (2, 3, 4, 15, 30))


def rows(database: Database, symbol: str) -> list[dict[str, Any]]:
    with (
        database.connect("test", Role.READER) as connection,
        connection.cursor(row_factory=psycopg.rows.dict_row) as cursor,
    ):
        return cursor.execute(
            "SELECT *, tableoid::regclass::text AS partition FROM live_data.price_log WHERE symbol = %s ORDER BY ticked_at",
            [symbol],
        ).fetchall()


def with_writer(database: Database, work: Callable[[TickWriter], Awaitable[None]], lock_timeout: str = "200ms") -> None:
    """Run a coroutine with a tick writer, on a connection like a session's."""

    async def run() -> None:
        conninfo = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
            await connection.execute("SELECT set_config('lock_timeout', %s, false)", [lock_timeout])
            await work(TickWriter(connection, "test feed"))

    asyncio.run(run())


def test_a_tick_is_stored_with_its_features(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        writer.add_ticks(
            [
                TickRecord("FEAT", Tick(NOW, 100.0), WHOLE),
                TickRecord("FEAT", Tick(NOW + timedelta(seconds=1), 101.0), PARTIAL),
            ]
        )
        await writer.flush()

    with_writer(database, work)
    whole, partial = rows(database, "FEAT")
    assert (whole["ticked_at"], whole["price"], whole["source"]) == (NOW, 100.0, "test feed")
    assert (whole["mean_1m"], whole["momentum_score"], whole["missing_lags"]) == (101.5, 0.25, [])
    assert [whole[f"delta_{lag}m"] for lag in DELTA_LAGS_MINUTES] == list(WHOLE.deltas_pct)
    assert partial["missing_lags"] == [2, 3, 4, 15, 30]
    assert (partial["delta_1m"], partial["delta_2m"]) == (0.1, None)


def test_a_repeated_tick_is_stored_once(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        writer.add_ticks([TickRecord("TWICE", Tick(NOW, 100.0), WHOLE)] * 2)
        await writer.flush()
        writer.add_ticks([TickRecord("TWICE", Tick(NOW, 200.0), WHOLE)])
        await writer.flush()

    with_writer(database, work)
    assert [row["price"] for row in rows(database, "TWICE")] == [100.0]


def test_the_writer_creates_a_missing_partition(database: Database) -> None:
    far = NOW + timedelta(days=40)

    async def work(writer: TickWriter) -> None:
        writer.add_ticks([TickRecord("FAR", Tick(far, 100.0), WHOLE)])
        await writer.flush()

    with_writer(database, work)
    assert rows(database, "FAR")[0]["partition"] == f"live_data.price_log_{far:%Y%m%d}"


def test_partitions_are_created_ahead(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        await create_day_partitions_async(writer.connection, upcoming_days(NOW + timedelta(days=60)))
        await create_day_partitions_async(writer.connection, upcoming_days(NOW + timedelta(days=60)))

    with_writer(database, work)
    with database.connect("test", Role.READER) as connection:
        for table in ("price_log", "answer"):
            for days in range(60, 64):
                name = f"live_data.{table}_{NOW + timedelta(days=days):%Y%m%d}"
                row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
                assert row == (True,), name


def test_ticks_delayed_by_a_lock_are_reported_and_stored_later(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        with database.connect("maintenance", None) as holder:
            holder.execute("LOCK TABLE live_data.price_log IN SHARE MODE")
            writer.add_ticks([TickRecord("HELD", Tick(NOW, 100.0), WHOLE)])
            await writer.flush()
            assert [problem.split(":")[0] for problem in writer.problems] == ["1 ticks wait to be stored"]
            writer.add_ticks([TickRecord("HELD", Tick(NOW + timedelta(seconds=1), 101.0), WHOLE)])
            await writer.flush()
            assert [problem.split(":")[0] for problem in writer.problems] == ["2 ticks wait to be stored"]
        writer.add_ticks([TickRecord("HELD", Tick(NOW + timedelta(seconds=2), 102.0), WHOLE)])
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert [row["price"] for row in rows(database, "HELD")] == [100.0, 101.0, 102.0]


def test_refused_rows_do_not_block_later_ones(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        writer.add_ticks([TickRecord("REFUSED", Tick(datetime(1970, 1, 21, tzinfo=UTC), 100.0), WHOLE)])
        await writer.flush()
        assert writer.problems == ["the database refused 1 ticks: day 1970-01-21 is not within ten years"]
        writer.add_ticks([TickRecord("REFUSED", Tick(NOW, 101.0), WHOLE)])
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert [row["price"] for row in rows(database, "REFUSED")] == [101.0]


def test_a_refused_row_costs_no_other_row_of_its_batch(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        ticks = [Tick(NOW + timedelta(seconds=number), 100.0) for number in range(1_000)]
        for number in (3, 700):
            ticks[number] = Tick(datetime(1970, 1, 21, tzinfo=UTC) + timedelta(seconds=number), 100.0)
        writer.add_ticks([TickRecord("MANY", tick, WHOLE) for tick in ticks])
        await writer.flush()
        assert writer.problems == ["the database refused 2 ticks: day 1970-01-21 is not within ten years"]

    with_writer(database, work)
    assert len(rows(database, "MANY")) == 998


def test_rows_of_a_cancelled_write_are_written_by_the_next_flush(database: Database) -> None:
    def waits_for_a_lock() -> bool:
        with database.connect("test", None) as connection:
            return bool(
                connection.execute(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'live_data.price_log'::regclass "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                ).fetchall()
            )

    async def work(writer: TickWriter) -> None:
        task = asyncio.create_task(writer.run())
        with database.connect("maintenance", None) as holder:
            await asyncio.to_thread(holder.execute, "LOCK TABLE live_data.price_log IN SHARE MODE")
            writer.add_ticks([TickRecord("CANCELLED", Tick(NOW, 100.0), WHOLE)])
            await asyncio.to_thread(wait_until, waits_for_a_lock, "the writer to wait for the lock")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await writer.flush()

    with_writer(database, work, lock_timeout="10min")
    assert [row["price"] for row in rows(database, "CANCELLED")] == [100.0]


def test_a_lost_connection_is_raised(database: Database) -> None:
    async def work(writer: TickWriter) -> None:
        with database.connect("test", None, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [writer.connection.info.backend_pid])
        writer.add_ticks([TickRecord("GONE", Tick(NOW, 100.0), WHOLE)])
        with pytest.raises(psycopg.OperationalError):
            await writer.flush()

    with_writer(database, work)


def test_the_session_adds_features_to_ticks_of_other_producers(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("OTHER", seed=1)
    insert_half_an_hour_of_ticks(database, "OTHER", 100.0)
    with session(database, tmp_path, "OTHER"):
        wait_until(lambda: read_payload(tmp_path, "OTHER"), "a file")
        insert_tick(database, "OTHER", 101.0)
        wait_until(lambda: rows(database, "OTHER")[-1]["missing_lags"] is not None, "its momentum")
    *before, last = rows(database, "OTHER")
    assert last["missing_lags"] == []
    assert last["delta_1m"] == pytest.approx(1.0)
    assert last["momentum_score"] == pytest.approx(1.0)
    assert all(row["missing_lags"] is not None for row in before), "also those before the session"
    assert before[0]["missing_lags"] == [1, 2, 3, 4, 15, 30]


def test_exchange_prices_are_stored_and_failures_are_reasons(
    database: Database, build: Build, exchange: Exchange, tmp_path: Path
) -> None:
    build("BTC", seed=1)
    insert_half_an_hour_of_ticks(database, "BTC", 100_000.0)

    def feed(_: object) -> ExchangeFeed:
        return ExchangeFeed(exchange.settings(), {"BTC": "BTC/USD"})

    live = LiveSession(database, tmp_path, {"BTC": 250.0}, feed)

    async def script() -> None:
        async def until(condition: Callable[[], object], what: str) -> None:
            await asyncio.to_thread(wait_until, condition, what)

        main = asyncio.create_task(live._main(False))
        await until(payload_has(tmp_path, "BTC", status="ok", current_price=100_000.0), "the exchange's price")
        exchange.fail("/coinbase/products/BTC-USD/ticker", *[status(503)] * 500)
        await until(
            lambda: any("503" in reason for reason in (read_payload(tmp_path, "BTC") or {})["reasons"]),
            "the failure in the file",
        )
        await until(payload_has(tmp_path, "BTC", status="stale"), "a stale file")
        main.cancel()
        with pytest.raises(asyncio.CancelledError):
            await main

    asyncio.run(script())
    stored = [row for row in rows(database, "BTC") if row["source"] == "coinbaseexchange"]
    assert stored
    assert all(row["missing_lags"] is not None for row in stored)
    assert {row["price"] for row in stored} == {100_000.0}
    assert live.metrics.source_failures >= 1


def test_an_exchange_that_fails_from_the_start_is_named_in_the_file(
    database: Database, build: Build, exchange: Exchange, tmp_path: Path
) -> None:
    """Also in place of the last file of a session that was stopped, and with the last price that is known."""
    for symbol in ("DEAD", "NEVER"):
        build(symbol, seed=1)
    exchange.fail("/coinbase", *[status(503)] * 500)
    last_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    insert_tick(database, "DEAD", 101.0, last_at)
    files = ProbabilityFileWriter(tmp_path)
    files.claim(0, "earlier")
    files.write("DEAD", {"status": "stale", "reasons": ["the live session ended: stopped by SIGINT"]})
    files.close()

    def feed(_: object) -> ExchangeFeed:
        return ExchangeFeed(exchange.settings(), {"DEAD": "BTC/USD", "NEVER": "ETH/USD"})

    def is_named(symbol: str) -> bool:
        return any("503" in reason for reason in (read_payload(tmp_path, symbol) or {"reasons": []})["reasons"])

    with running_in_thread(LiveSession(database, tmp_path, {"DEAD": 0.25, "NEVER": 0.25}, feed)):
        wait_until(lambda: is_named("DEAD") and is_named("NEVER"), "the failure in the files")
        dead, never = read_payload(tmp_path, "DEAD"), read_payload(tmp_path, "NEVER")
    assert dead is not None
    assert never is not None
    assert (dead["status"], dead["current_price"]) == ("stale", 101.0)
    assert dead["price_timestamp"] == f"{last_at:%Y-%m-%dT%H:%M:%S}.000Z"
    assert dead["price_age_ms"] >= 7_200_000
    assert dead["reasons"][0] == (
        f"no price of DEAD has arrived since {last_at:%Y-%m-%d %H:%M:%S} UTC (source: coinbaseexchange)"
    )
    assert {row["prob_beyond"] for row in dead["probabilities"]} == {None}
    assert (never["current_price"], never["price_timestamp"], never["probabilities"]) == (None, None, [])
    assert never["reasons"][0] == "no price of NEVER has arrived yet (source: coinbaseexchange)"
    ended = read_payload(tmp_path, "NEVER")
    assert ended is not None
    assert "the live session ended" in ended["reasons"][1]


def test_a_repeated_trade_makes_the_file_stale_by_the_time_of_the_trade(
    database: Database, build: Build, exchange: Exchange, tmp_path: Path
) -> None:
    build("REPEAT", seed=1)
    exchange.tick("BTC", 100_000.0, time.time() - 30.0)
    traded_at = datetime.fromtimestamp(exchange.trade_time("BTC"), UTC).isoformat(timespec="milliseconds")

    def feed(_: object) -> ExchangeFeed:
        return ExchangeFeed(exchange.settings(max_repeat_seconds=60.0), {"REPEAT": "BTC/USD"})

    with running_in_thread(LiveSession(database, tmp_path, {"REPEAT": 250.0}, feed)):
        wait_until(payload_has(tmp_path, "REPEAT", status="degraded"), "a confirmed price")
        wait_until(payload_has(tmp_path, "REPEAT", status="stale"), "a stale file")
        payload = read_payload(tmp_path, "REPEAT")
    assert payload is not None
    assert payload["price_timestamp"].replace("Z", "+00:00") == traded_at
    assert payload["price_age_ms"] > 60_000
    assert payload["reasons"][0].startswith("the source repeats its last price, dated ")


def test_an_upgrade_keeps_the_ticks_of_the_previous_schema(server: Database) -> None:
    name = f"strikecast_upgrade_{uuid4().hex}"
    database = Database(server.url_for(name))
    schema.ensure_database(database)
    try:
        upgrade(database, "0002")
        with psycopg.connect(database.url) as connection:
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
                "SELECT 'OLD', '2026-07-01T23:59:58.0001Z'::timestamptz + n * interval '1 second', 100 + n, 'test' FROM generate_series(0, 5) AS n"
            )
            connection.execute("INSERT INTO live_data.session (symbols) VALUES ('{OLD}')")
        schema.migrate(database)
        kept = rows(database, "OLD")
        assert [row["price"] for row in kept] == [100.0 + n for n in range(6)]
        assert [row["partition"][-8:] for row in kept] == ["20260701"] * 2 + ["20260702"] * 4
        assert schema.migrate(database).is_current
    finally:
        with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))
