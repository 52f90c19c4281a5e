"""Ticks of producers are kept without a running system, which creates the day partitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from pipelines.storage.live.day_partitions import count_days_ahead, create_day_partitions, upcoming_days
from pipelines.storage.postgres import schema
from pipelines.storage.postgres.connection import Database, Role

INSERT = "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('IDLE', %s, 100, 'test')"


@contextmanager
def without_partitions(server: Database, from_day: date) -> Iterator[Database]:
    """A database whose partitions of `price_log` end before a day, as after a downtime of over a week."""
    name = f"strikecast_later_{uuid4().hex}"
    database = Database(server.url_for(name))
    schema.ensure_database(database)
    try:
        schema.migrate(database)
        with database.connect("test", None) as connection:
            connection.execute("ALTER TABLE live_data.price_log DETACH PARTITION live_data.price_log_later")
            days = connection.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'live_data.price_log'::regclass"
            ).fetchall()
            for (day,) in days:
                connection.execute(psycopg.sql.SQL("DROP TABLE {}").format(psycopg.sql.SQL(day)))
            connection.execute("SELECT live_data.attach_price_log_later(%s)", [from_day])
        yield database
    finally:
        with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))


def test_a_producer_inserts_although_no_system_has_created_partitions(server: Database) -> None:
    now = datetime.now(UTC)
    first, today = (now - timedelta(days=20)).date(), now.date()
    with without_partitions(server, first) as database:
        with database.connect("test", Role.LIVE) as connection:
            for days in (15, 9, 0):
                connection.execute(INSERT, [now - timedelta(days=days)])
        with database.connect("test", Role.PIPELINE) as connection:
            assert count_days_ahead(connection) == 0
            for _ in range(2):
                create_day_partitions(connection, upcoming_days(now))
            assert count_days_ahead(connection) >= 7
        with database.connect("test", Role.LIVE) as connection:
            connection.execute(INSERT, [now + timedelta(seconds=1)])
            connection.execute(INSERT, [now + timedelta(days=1)])
        with database.connect("test", Role.READER) as connection:
            rows = connection.execute(
                "SELECT tableoid::regclass::text FROM live_data.price_log WHERE symbol = 'IDLE' ORDER BY ticked_at"
            ).fetchall()
            drifted = connection.execute("SELECT table_name FROM ops.autovacuum_drift").fetchall()
        last, tomorrow = (
            f"live_data.price_log_{today:%Y%m%d}",
            f"live_data.price_log_{today + timedelta(days=1):%Y%m%d}",
        )
        assert rows == [(last,)] * 4 + [(tomorrow,)]
        assert drifted == []


def test_a_date_far_ahead_is_refused_also_without_partitions(server: Database) -> None:
    now = datetime.now(UTC)
    with without_partitions(server, now.date()) as database, database.connect("test", Role.LIVE) as connection:
        for days in (2, 400, 27_000):
            with pytest.raises(psycopg.errors.CheckViolation, match="is_not_ahead"), connection.transaction():
                connection.execute(INSERT, [now + timedelta(days=days)])
        connection.execute(INSERT, [now])


def test_new_days_wait_a_second_at_most_for_a_reader_of_all_ticks(server: Database) -> None:
    now = datetime.now(UTC)
    with (
        without_partitions(server, now.date()) as database,
        database.connect("reader", Role.READER) as reader,
        database.connect("test", Role.PIPELINE) as connection,
    ):
        reader.execute("SELECT count(*) FROM live_data.price_log")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            create_day_partitions(connection, upcoming_days(now))
