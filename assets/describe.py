"""Metadata that every table's asset carries."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipelines.storage.postgres.catalog import table_columns
from pipelines.storage.postgres.connection import Connection

OWNERS = ["team:strikecast"]
AUTOMATION = dg.AutomationCondition.eager()


def table_metadata(connection: Connection, table: str, rows: int) -> Mapping[str, Any]:
    """Row count and schema of a table, with the comments that the database itself holds."""
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=not column.not_null),
        )
        for column in table_columns(connection, table)
    ]
    return {
        "dagster/row_count": rows,
        "dagster/table_name": table,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
