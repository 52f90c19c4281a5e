"""Prices that lie about their time or their size are refused with a reason, and no other symbol notices."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from live_sessions import (
    insert_half_an_hour_of_ticks,
    insert_tick,
    insert_ticks_until,
    payload_has,
    read_payload,
    session,
)
from waiting import wait_until

from pipelines.ingestion.ingest import ingest_candles
from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]


def reasons_name(output: Path, symbol: str, text: str) -> Callable[[], bool]:
    return lambda: any(text in reason for reason in (read_payload(output, symbol) or {"reasons": []})["reasons"])


def test_a_price_from_the_future_is_reported_and_not_used(database: Database, build: Build, tmp_path: Path) -> None:
    build("AHEAD", seed=1)
    insert_half_an_hour_of_ticks(database, "AHEAD", 100.0)
    with session(database, tmp_path, "AHEAD"):
        insert_ticks_until(database, tmp_path, "AHEAD", 100.0, "a fresh file", status="ok")
        insert_tick(database, "AHEAD", 500.0, datetime.now(UTC) + timedelta(seconds=90))

        def is_reported() -> bool:
            return any(
                "ahead of this machine's clock" in reason
                for reason in (read_payload(tmp_path, "AHEAD") or {})["reasons"]
            )

        wait_until(is_reported, "the reason")
        payload = read_payload(tmp_path, "AHEAD")
    assert payload is not None
    assert payload["current_price"] == 100.0


def test_a_price_from_the_future_is_not_used_when_its_time_comes(
    database: Database, build: Build, tmp_path: Path
) -> None:
    """Neither by the session that saw it arrive, nor by a later one."""
    build("EARLY", seed=1)
    insert_half_an_hour_of_ticks(database, "EARLY", 100.0)
    ahead = datetime.now(UTC) + timedelta(seconds=3)

    def is_stale_after_its_time() -> bool:
        payload = read_payload(tmp_path, "EARLY")
        return payload is not None and payload["status"] == "stale" and payload["timestamp"] > f"{ahead:%FT%T.%f}"[:-3]

    with session(database, tmp_path, "EARLY"):
        insert_tick(database, "EARLY", 500.0, ahead)
        wait_until(is_stale_after_its_time, "a file after the time of the price")
        assert (read_payload(tmp_path, "EARLY") or {})["current_price"] == 100.0
    with session(database, tmp_path, "EARLY"):
        ended_at = datetime.now(UTC)
        wait_until(lambda: (read_payload(tmp_path, "EARLY") or {})["timestamp"] > f"{ended_at:%FT%T}", "another file")
        payload = read_payload(tmp_path, "EARLY")
        assert payload is not None
        assert payload["current_price"] == 100.0
        insert_tick(database, "EARLY", 101.0)
        wait_until(payload_has(tmp_path, "EARLY", current_price=101.0), "the next good price")


def test_20_000_ticks_dated_ahead_do_not_delay_a_start(database: Database, build: Build, tmp_path: Path) -> None:
    build("FLOOD", seed=1)
    insert_half_an_hour_of_ticks(database, "FLOOD", 100.0)
    with database.connect("producer", Role.LIVE) as connection:
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
            "SELECT 'FLOOD', clock_timestamp() + interval '1 hour' + n * interval '1 ms', 500, 'test' FROM generate_series(1, 20000) AS n"
        )
    with session(database, tmp_path, "FLOOD"):
        insert_ticks_until(database, tmp_path, "FLOOD", 100.0, "a fresh file", status="degraded")
        assert reasons_name(tmp_path, "FLOOD", "ahead of this machine's clock")()


def test_a_price_out_of_range_is_refused_where_it_enters(database: Database) -> None:
    for price in (2.0**64, 1e10, 1e-13):
        with pytest.raises(psycopg.errors.CheckViolation, match="price_log_price_is_in_range"):
            insert_tick(database, "RANGE", price)
    insert_tick(database, "RANGE", 1e9)
    insert_tick(database, "RANGE", 1e-12)


def test_an_absurd_price_is_refused_with_the_reason_and_costs_no_other_symbol(
    database: Database, build: Build, tmp_path: Path
) -> None:
    """Also at a start, when it is in the history; such rows may be older than the check of the table."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE live_data.price_log DROP CONSTRAINT price_log_price_is_in_range")
    for symbol in ("ABSURD", "OTHER"):
        build(symbol, seed=1)
        insert_half_an_hour_of_ticks(database, symbol, 100.0)
    with session(database, tmp_path, "ABSURD", "OTHER"):
        insert_ticks_until(database, tmp_path, "ABSURD", 100.0, "a fresh file", status="ok")
        insert_tick(database, "ABSURD", 2.0**64)
        wait_until(reasons_name(tmp_path, "ABSURD", "1.84467e+19 is not a valid price"), "the reason")
        insert_tick(database, "ABSURD", 1.0)
        wait_until(reasons_name(tmp_path, "ABSURD", "1 differs from 100 by 99 %"), "the reason")
        assert payload_has(tmp_path, "ABSURD", current_price=100.0)()
    insert_tick(database, "ABSURD", 2.0**64)
    with session(database, tmp_path, "ABSURD", "OTHER"):
        for symbol in ("ABSURD", "OTHER"):
            insert_ticks_until(database, tmp_path, symbol, 100.5, "a fresh file", status="ok")
        assert payload_has(tmp_path, "ABSURD", reasons=[])()


def test_the_first_price_of_all_is_judged_by_the_newest_bar(database: Database, build: Build, tmp_path: Path) -> None:
    build("FIRST", seed=1)
    bar = (datetime(2026, 6, 1, tzinfo=UTC), 100.0, 100.0, 100.0, 100.0, 1.0)
    ingest_candles(database, "FIRST", "a bar", [bar], datetime.now(UTC))
    with session(database, tmp_path, "FIRST"):
        wait_until(lambda: read_payload(tmp_path, "FIRST"), "a file")
        insert_tick(database, "FIRST", 1.0)
        wait_until(reasons_name(tmp_path, "FIRST", "1 differs from 100 by 99 %"), "the reason")
        assert payload_has(tmp_path, "FIRST", current_price=None)()
        insert_tick(database, "FIRST", 70.0)
        insert_tick(database, "FIRST", 70.2)
        insert_tick(database, "FIRST", 69.9)
        wait_until(payload_has(tmp_path, "FIRST", current_price=69.9), "the confirmed price")


def test_a_price_whose_receipt_is_dated_ahead_as_well_is_refused(
    database: Database, build: Build, tmp_path: Path
) -> None:
    """Producers cannot write the time of receipt; a superuser can, or a clock of the server that is stepped back."""
    build("FORGED", seed=1)
    insert_half_an_hour_of_ticks(database, "FORGED", 100.0)
    with psycopg.connect(database.url) as connection:
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source, received_at) "
            "SELECT 'FORGED', at, 105, 'test', at FROM (SELECT clock_timestamp() + interval '1 hour') AS t (at)"
        )
    with session(database, tmp_path, "FORGED"):
        insert_ticks_until(database, tmp_path, "FORGED", 100.0, "a fresh file", status="degraded")
        assert reasons_name(tmp_path, "FORGED", "ahead of this machine's clock")()
