"""Databases of earlier versions, upgraded as docs/upgrades.md describes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from small_builds import build_generation

from pipelines.storage.migrations.run import upgrade
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.schema import ensure_database, read_version

#: Schemas from before each of the later groups of migrations.
EARLIER = ("0003", "0007", "0010", "0012")
#: Of the data that an upgrade must keep; every column that the earlier schema has.
KEPT = (
    "SELECT symbol, opened_at, close FROM historical_data.price_history ORDER BY 1, 2",
    "SELECT generation, symbol, model FROM analytics.model_version ORDER BY 1",
    "SELECT symbol, model, generation FROM analytics.active_generation ORDER BY 1, 2",
    "SELECT count(*), sum(ttc_seconds) FROM analytics.lookup_cell",
    "SELECT symbol, ticked_at, price, source FROM live_data.price_log ORDER BY 1, 2",
)
#: Answers and scores of earlier versions are by the last price; this is added by the upgrade.
RULES = (
    "SELECT settlement, basis_bps, source, closing_price, prob_beyond FROM live_data.answer",
    "SELECT settlement, model, happened FROM analytics.score",
    "SELECT strike, settlement, market_value, happened, replayed FROM live_data.answer_strike ORDER BY 1",
)
ANSWER = (
    "SELECT prob_beyond FROM analytics.strike_probability('BTC', 100, 100.25, 900, 0.02, using_model => 'momentum')"
)


@pytest.fixture(params=EARLIER)
def earlier_database(request: pytest.FixtureRequest, server: Database) -> Iterator[Database]:
    """A database with the schema of an earlier version."""
    database = Database(server.url_for(f"strikecast_upgrade_{uuid4().hex[:8]}"))
    ensure_database(database)
    upgrade(database, request.param)
    yield database
    with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


def content(database: Database) -> list[list[tuple[object, ...]]]:
    with psycopg.connect(database.url) as connection:
        return [connection.execute(query).fetchall() for query in (*KEPT, ANSWER)]


def test_an_upgrade_keeps_data_generations_and_grants(earlier_database: Database, tmp_path: Path) -> None:
    database = earlier_database
    build_generation(database, "BTC", seed=1)
    login = f"analyst_{uuid4().hex[:8]}"
    with psycopg.connect(database.url) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history VALUES ('BTC', '2024-01-01Z', 100, 101, 99, 100, 1)"
        )
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('BTC', now(), 100, 'test')"
        )
        connection.execute("SELECT live_data.create_day_partition('answer', current_date)")
        connection.execute(
            "INSERT INTO live_data.answer (symbol, answered_at, market_close, ttc_seconds, price, model, generation, "
            "strikes, prob_beyond, status, closing_price) VALUES "
            "('BTC', now(), now() + interval '1 minute', 60, 100, 'momentum', 1, '{99,101}', '{20,30}', 'ok', 99)"
        )
        connection.execute(
            "WITH run AS (INSERT INTO analytics.score_run (symbol, origin, scored_from, scored_until, plan, code_version) "
            "VALUES ('BTC', 'live', '2026-01-01Z', '2026-01-02Z', '{}', '1') RETURNING score_run_id) "
            "INSERT INTO analytics.score (score_run_id, model, dimension, level, n, mean_probability, happened) "
            "SELECT score_run_id, 'momentum', 'all', 'all', 1, 0.5, 1 FROM run"
        )
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE strikecast_reader").format(sql.Identifier(login)))
        connection.execute(sql.SQL("GRANT SELECT ON live_data.price_log TO {}").format(sql.Identifier(login)))
    before = content(database)
    assert all(before)
    environment = {**os.environ, "STRIKECAST_HOME": str(tmp_path / "home"), "STRIKECAST_DATABASE_URL": database.url}
    dagster = f"{database.name}_dagster"
    environment["STRIKECAST_DAGSTER_DATABASE"] = dagster
    try:
        for _ in range(2):
            command = [sys.executable, "-m", "pipelines.cli", "migrate"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            outputs = done.stdout
        assert "is current" in outputs, "the second time"
        assert read_version(database).is_current
        assert content(database) == before
        with psycopg.connect(database.url) as connection:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(login)))
            assert connection.execute("SELECT count(*) FROM live_data.price_log").fetchone() == (1,)
            assert connection.execute(ANSWER).fetchall() == before[-1]
            assert [connection.execute(query).fetchall() for query in RULES] == [
                [("last_price", None, None, 99.0, [20.0, 30.0])],
                [("last_price", "momentum", 1.0)],
                [(99.0, "last_price", 99.0, False, False), (101.0, "last_price", 99.0, False, False)],
            ]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM analytics.active_generation")
    finally:
        with psycopg.connect(database.url_for("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dagster)))
            with psycopg.connect(database.url, autocommit=True) as inner:
                inner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(login)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))
