"""SQL in files, one statement each."""

from functools import cache
from importlib import resources
from typing import LiteralString, TypeVar

from psycopg.abc import Params
from psycopg.rows import class_row

from pipelines.storage.postgres.connection import Connection

Row = TypeVar("Row")


@cache
def query(name: str) -> LiteralString:
    """Text of `storage/sql/{name}.sql`; it is part of the program, hence as trusted as a literal."""
    return resources.files("pipelines.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def read_rows(connection: Connection, kind: type[Row], name: str, parameters: Params | None = None) -> list[Row]:
    """All rows of the statement `name`, each as a `kind`, whose fields are called as its columns."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query(name), parameters).fetchall()
