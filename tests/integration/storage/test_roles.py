"""Privileges of the roles, and constraints of the tables."""

from collections.abc import Callable

import psycopg
import pytest

from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]

MINUTE = "2026-07-22T18:00Z"
MARKET_TABLES = ("market", "market_quote", "market_candle", "market_fee", "market_revision", "market_import")
MARKET = (
    "INSERT INTO market_data.market (exchange, ticker, event_ticker, series_ticker, symbol, settlement, strike_type,"
    " floor_strike, opens_at, closes_at, price_ranges, status)"
    f" VALUES ('kalshi', 'ROLE-1-T1', 'ROLE-1', 'ROLE', 'BTC', 'mean_60s', 'greater', 1, '2026-07-22T17:00Z', '{MINUTE}',"
    " '[]', 'active')"
)
QUOTE = (
    "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid) VALUES (1, now(), 0.5) ON CONFLICT DO NOTHING"
)
FEE = (
    "INSERT INTO market_data.market_fee (exchange, series_ticker, starts_at, fee_type, multiplier)"
    " VALUES ('kalshi', 'ROLE', now(), 'quadratic', 1) ON CONFLICT (exchange, series_ticker, event_ticker, starts_at)"
    " DO UPDATE SET multiplier = 2"
)
REVISION = (
    "INSERT INTO market_data.market_revision (market_id, former_status, former_result, status)"
    " VALUES (1, 'finalized', 'yes', 'disputed')"
)
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
    *((Role.LIVE, f"DELETE FROM market_data.{table}") for table in MARKET_TABLES),
    (Role.LIVE, f"INSERT INTO market_data.market_candle (market_id, ends_at) VALUES (1, '{MINUTE}')"),
    (Role.LIVE, "UPDATE market_data.market_quote SET yes_bid = 0.5"),
    (Role.LIVE, "UPDATE market_data.market SET ticker = 'X'"),
    (Role.LIVE, "UPDATE market_data.market SET exchange = 'simulated'"),
    (Role.LIVE, "UPDATE market_data.market_fee SET multiplier = 0"),
    (Role.LIVE, REVISION),
    (Role.LIVE, "UPDATE market_data.market_revision SET former_result = 'no'"),
    (Role.PIPELINE, REVISION),
    *((Role.PIPELINE, f"DELETE FROM market_data.{table}") for table in MARKET_TABLES),
    (Role.PIPELINE, "UPDATE market_data.market_quote SET yes_bid = 0.5"),
    (Role.PIPELINE, "UPDATE market_data.market_candle SET ends_at = now()"),
    *((role, MARKET) for role in (Role.READER, Role.AUDITOR, Role.BACKUP, Role.PRODUCER)),
    *((Role.READER, f"DELETE FROM market_data.{table}") for table in MARKET_TABLES),
    (Role.READER, "UPDATE market_data.market SET result = 'no'"),
    (Role.READER, "SELECT market_data.create_day_partition('market_quote', current_date)"),
    *((Role.PRODUCER, f"SELECT * FROM market_data.{table}") for table in (*MARKET_TABLES, "quote")),
    (Role.PRODUCER, "SELECT market_data.create_day_partition('market_quote', current_date)"),
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
    *((role, MARKET) for role in (Role.LIVE, Role.PIPELINE)),
    *((role, "UPDATE market_data.market SET status = 'closed', result = 'yes'") for role in (Role.LIVE, Role.PIPELINE)),
    *((role, QUOTE) for role in (Role.LIVE, Role.PIPELINE)),
    (Role.PIPELINE, FEE),
    *(
        (role, "SELECT market_data.create_day_partition('market_quote', current_date + 20)")
        for role in (Role.LIVE, Role.PIPELINE)
    ),
    (Role.PIPELINE, f"INSERT INTO market_data.market_candle (market_id, ends_at) VALUES (1, '{MINUTE}')"),
    (Role.PIPELINE, "UPDATE market_data.market_candle SET yes_bid_close = 0.5"),
    *(
        (role, f"SELECT count(*) FROM market_data.{table}")
        for role in (Role.READER, Role.LIVE, Role.PIPELINE, Role.AUDITOR, Role.BACKUP)
        for table in (*MARKET_TABLES, "quote")
    ),
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


@pytest.mark.parametrize("column", ["yes_bid", "no_bid"])
@pytest.mark.parametrize("price", ["0", "1", "-0.01", "'NaN'"])
def test_check_constraints_reject_impossible_quotes(database: Database, column: str, price: str) -> None:
    statement = f"INSERT INTO market_data.market_quote (market_id, quoted_at, {column}) VALUES (1, now(), {price})"
    with (
        psycopg.connect(database.conninfo("test", Role.LIVE)) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="market_quote_check"),
    ):
        connection.execute(statement)
