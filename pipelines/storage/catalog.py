"""What the database says about its own tables."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipelines.storage.database import Connection
from pipelines.storage.queries import query


@dataclass(frozen=True)
class TableColumn:
    """A column, with its comment."""

    name: str
    type: str
    description: str
    not_null: bool


def table_columns(connection: Connection, table: str) -> list[TableColumn]:
    """Columns of `schema.table`, in order."""
    with connection.cursor(row_factory=class_row(TableColumn)) as cursor:
        return cursor.execute(query("table_columns"), [table]).fetchall()
