"""Bars, answers and scores as polars frames."""

import warnings
from datetime import UTC, datetime

import polars as pl
from psycopg import sql

from pipelines.errors import SettingsError
from pipelines.storage.files.archive import Archive
from pipelines.storage.live.answers import read_outcomes
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.reading import read
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.queries.query import query_database
from pipelines.storage.queries.statements import duckdb_text

SQL = Statements(__name__)
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def read_query(database: Database, archive: Archive, statement: str) -> pl.DataFrame:
    """The result of a query; see `query_database` for what it may read and what is raised."""
    with query_database(database, archive, statement, _warn) as result:
        return result.frame()


def read_bars(
    database: Database, archive: Archive, symbol: str, since: datetime | None, until: datetime | None
) -> pl.DataFrame:
    """Bars that opened in [since, until), stored or archived, oldest first."""
    return read_query(database, archive, duckdb_text(SQL["bars"], **_range(symbol, since, until)))


def read_answers(database: Database, symbol: str, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    """Stored answers of live sessions given in [since, until), a row per strike, oldest first; see `read_outcomes`."""
    _require_time_zone(since, until)
    first, last = since or FIRST, until or LAST
    return read(database, "query", lambda connection: read_outcomes(connection, symbol, first, last))


def read_scores(database: Database, archive: Archive, symbol: str, dimension: str) -> pl.DataFrame:
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


def _warn(text: str) -> None:
    """Notebooks show warnings, and have no log."""
    warnings.warn(text, stacklevel=5)


def _require_time_zone(*instants: datetime | None) -> None:
    for instant in instants:
        if instant is not None and instant.tzinfo is None:
            raise SettingsError(f"{instant} has no time zone: use datetime(..., tzinfo=UTC)")
