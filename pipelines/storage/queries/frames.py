"""Bars, answers and scores as polars frames."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from psycopg import sql

from pipelines.errors import SettingsError
from pipelines.storage.live.answers import read_outcomes
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.queries.query import run_query
from pipelines.storage.queries.statements import duckdb_text

SQL = Statements(__name__)
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def read_query(database: Database, archive: Path, statement: str) -> pl.DataFrame:
    """The result of a query; see `run_query` for what it may read and what is raised."""
    with database.connect("query", Role.READER) as connection, run_query(connection, archive, statement) as result:
        return result.frame()


def read_bars(
    database: Database, archive: Path, symbol: str, since: datetime | None, until: datetime | None
) -> pl.DataFrame:
    """Bars that opened in [since, until), stored or archived, oldest first."""
    return read_query(database, archive, duckdb_text(SQL["bars"], **_range(symbol, since, until)))


def read_answers(database: Database, symbol: str, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    """Stored answers of live sessions given in [since, until), a row per strike, oldest first; see `read_outcomes`."""
    _require_time_zone(since, until)
    with database.connect("query", Role.READER) as connection:
        return read_outcomes(connection, symbol, since or FIRST, until or LAST)


def read_scores(database: Database, archive: Path, symbol: str, dimension: str) -> pl.DataFrame:
    """Stored scores of one dimension, by run, model and level."""
    given = {"symbol": sql.Literal(symbol), "dimension": sql.Literal(dimension)}
    return read_query(database, archive, duckdb_text(SQL["scores"], **given))


def _range(symbol: str, since: datetime | None, until: datetime | None) -> dict[str, sql.Composable]:
    _require_time_zone(since, until)
    return {
        "symbol": sql.Literal(symbol),
        "since": sql.Literal((since or FIRST).astimezone(UTC)),
        "until": sql.Literal((until or LAST).astimezone(UTC)),
    }


def _require_time_zone(*instants: datetime | None) -> None:
    for instant in instants:
        if instant is not None and instant.tzinfo is None:
            raise SettingsError(f"{instant} has no time zone: use datetime(..., tzinfo=UTC)")
