"""Descriptions of tables from the system catalog."""

from dataclasses import dataclass

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


@dataclass(frozen=True)
class TableColumn:
    """A column and its comment."""

    name: str
    type: str
    description: str
    not_null: bool


def table_columns(connection: Connection, table: str) -> list[TableColumn]:
    """Columns of `table` (with its schema), in order; empty when it does not exist."""
    return read_rows(connection, TableColumn, SQL["table_columns"], [table])
