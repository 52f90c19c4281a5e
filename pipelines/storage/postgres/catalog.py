"""What the database says about its own tables."""

from dataclasses import dataclass

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


@dataclass(frozen=True)
class TableColumn:
    """A column, with its comment."""

    name: str
    type: str
    description: str
    not_null: bool


def table_columns(connection: Connection, table: str) -> list[TableColumn]:
    """Columns of `schema.table`, in order."""
    return read_rows(connection, TableColumn, SQL["table_columns"], [table])
