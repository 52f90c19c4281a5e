"""Privileges of the roles, and constraints of the tables."""

from collections.abc import Callable

import psycopg
import pytest

from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]

DENIED = [
    (Role.PIPELINE, "DROP TABLE historical_data.price_history"),
    (Role.PIPELINE, "ALTER TABLE analytics.fingerprint ADD COLUMN more integer"),
    (Role.PIPELINE, "CREATE TABLE analytics.other (x integer)"),
    (Role.PIPELINE, "TRUNCATE analytics.model_version"),
    (Role.PIPELINE, "INSERT INTO live_data.price_log VALUES ('BTC', now(), 1, 'pipeline')"),
    (Role.PIPELINE, "UPDATE analytics.lookup SET n_eff = 0"),
    (Role.LIVE, "INSERT INTO historical_data.price_history VALUES ('BTC', now(), 1, 1, 1, 1, 1)"),
    (Role.LIVE, "UPDATE analytics.active_generation SET generation = 1"),
    (Role.LIVE, "DELETE FROM analytics.fingerprint"),
    (Role.LIVE, "SELECT * FROM historical_data.quarantined_bar"),
    (Role.LIVE, "DELETE FROM live_data.price_log"),
    (Role.LIVE, "SELECT analytics.create_lookup_table(1000)"),
    (
        Role.LIVE,
        "INSERT INTO live_data.price_log (symbol, ticked_at, price, source, received_at) VALUES ('BTC', now(), 1, 'x', now())",
    ),
    (
        Role.PRODUCER,
        "INSERT INTO live_data.price_log (symbol, ticked_at, price, source, received_at) VALUES ('BTC', now(), 1, 'x', now())",
    ),
    (Role.PRODUCER, "SELECT price FROM live_data.price_log"),
    (
        Role.PRODUCER,
        "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source, received_at) VALUES ('BTC', 'index', now(), 1, 'x', now())",
    ),
    (Role.PRODUCER, "SELECT value FROM live_data.reference_value"),
    (Role.PRODUCER, "UPDATE live_data.reference_value SET value = 1"),
    (Role.PRODUCER, "DELETE FROM live_data.reference_value"),
    (Role.PRODUCER, "UPDATE live_data.session SET status = 'stopped'"),
    (Role.PRODUCER, "SELECT live_data.create_day_partition('price_log', current_date + 10)"),
    (Role.READER, "INSERT INTO live_data.price_log VALUES ('BTC', now(), 1, 'reader')"),
    (Role.READER, "INSERT INTO live_data.reference_value VALUES ('BTC', 'index', now(), 1, 'reader')"),
    (Role.LIVE, "INSERT INTO live_data.reference_value VALUES ('BTC', 'index', now(), 1, 'live')"),
    (Role.PIPELINE, "DELETE FROM live_data.reference_value"),
    (Role.READER, "UPDATE analytics.active_generation SET generation = 1"),
    (Role.READER, "DELETE FROM historical_data.price_history"),
    (Role.READER, "CREATE TABLE analytics.other (x integer)"),
    (Role.READER, "SELECT historical_data.create_symbol_partitions('XXX')"),
    (Role.READER, "SELECT analytics.create_fingerprint_views('XXX')"),
    (Role.AUDITOR, "DELETE FROM ops.audit"),
    (Role.AUDITOR, "UPDATE live_data.session SET cycles = 0"),
    (Role.AUDITOR, "SELECT * FROM historical_data.quarantined_bar FOR UPDATE"),
    (Role.READER, "INSERT INTO ops.audit_scratch VALUES ('X', now(), 1, 'reader')"),
    (Role.AUDITOR, "INSERT INTO live_data.price_log VALUES ('BTC', now(), 1, 'auditor')"),
    (Role.BACKUP, "INSERT INTO live_data.price_log VALUES ('BTC', now(), 1, 'backup')"),
    (Role.BACKUP, "DELETE FROM analytics.model_version"),
]

ALLOWED = [
    (Role.PIPELINE, "SELECT historical_data.create_symbol_partitions('ROLE')"),
    (Role.PIPELINE, "INSERT INTO historical_data.price_gap VALUES ('ROLE', now(), now(), 1)"),
    (Role.LIVE, "INSERT INTO live_data.price_log VALUES ('ROLE', now(), 1, 'test')"),
    (
        Role.PRODUCER,
        "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('ROLE', now(), 1, 'test') ON CONFLICT DO NOTHING",
    ),
    (
        Role.PRODUCER,
        "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) VALUES ('ROLE', 'index', now(), 1, 'test') ON CONFLICT DO NOTHING",
    ),
    *((role, "SELECT count(*) FROM live_data.reference_value") for role in (Role.LIVE, Role.PIPELINE, Role.READER)),
    (Role.LIVE, "SELECT * FROM analytics.lookup WHERE generation = 1 AND bucket = 0::smallint"),
    (Role.READER, "SELECT * FROM analytics.strike_probability('ROLE', 100, 101, 900, 0.01)"),
    (Role.READER, "SELECT count(*) FROM historical_data.price_history"),
    (Role.READER, 'SELECT * FROM analytics."role_fingerprint_directional_momentum_-01"'),
    (Role.BACKUP, "SELECT count(*) FROM historical_data.quarantined_bar"),
    (Role.BACKUP, "SELECT count(*) FROM ops.ingestion"),
    (Role.AUDITOR, "INSERT INTO ops.audit_scratch (symbol, ticked_at, price, source) VALUES ('X', now(), 1, 'audit')"),
]


@pytest.fixture(scope="module", autouse=True)
def _with_partitions(database: Database) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute("SELECT analytics.create_fingerprint_views('ROLE')")


@pytest.mark.parametrize(("role", "statement"), DENIED)
def test_a_role_is_denied(database: Database, role: Role, statement: str) -> None:
    with (
        psycopg.connect(database.conninfo("test", role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.parametrize(("role", "statement"), ALLOWED)
def test_a_role_is_allowed(database: Database, role: Role, statement: str) -> None:
    with psycopg.connect(database.conninfo("test", role)) as connection:
        connection.execute(statement)
        connection.rollback()


def test_check_constraints_reject_impossible_bars(database: Database) -> None:
    for values in (
        "1, 0.5, 1, 1, 1",
        "1, 1, 1, 'NaN', 1",
        "-1, 1, -1, 1, 1",
        "1, 1, 1, 1, -1",
        "1, 'Infinity', 1, 1, 1",
    ):
        with (
            psycopg.connect(database.conninfo("test", Role.PIPELINE)) as connection,
            pytest.raises(psycopg.errors.CheckViolation),
        ):
            connection.execute(f"INSERT INTO historical_data.price_history VALUES ('BTC', '2026-01-01Z', {values})")


def test_every_connection_has_an_application_name_and_timeouts(database: Database) -> None:
    with database.connect("naming test", Role.READER) as connection:
        settings = [
            connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("application_name", "statement_timeout", "lock_timeout", "TimeZone", "role")
        ]
    assert settings == [("strikecast naming test",), ("10min",), ("10s",), ("UTC",), ("strikecast_reader",)]
