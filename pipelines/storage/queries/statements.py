"""Compose statements for PostgreSQL and DuckDB, which quote identifiers and literals alike.

Everything is in their text: with parameters, a % in the text of a query would be a placeholder.
"""

from typing import LiteralString

from psycopg import sql


def composed(text: LiteralString, **parts: sql.Composable) -> sql.Composed:
    """A statement for PostgreSQL, or a part of a statement."""
    return sql.SQL(text).format(**parts)


def duckdb_text(text: LiteralString, **parts: sql.Composable) -> str:
    """A statement for DuckDB."""
    return composed(text, **parts).as_string()
