"""Write assets/table_columns.json, the columns of the assets' tables with their comments: `make reference`.

An embedded server is created for it in a temporary folder, with the current schema.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pipelines.definitions import defs
from pipelines.deployment import migrated_database
from pipelines.settings import load_settings
from pipelines.storage.postgres.catalog import table_columns
from pipelines.storage.postgres.connection import Connection, Role


def columns_of_assets(connection: Connection) -> dict[str, list[dict[str, object]]]:
    """Columns by table, for the tables that assets name."""
    named = {spec.metadata.get("dagster/table_name") for spec in defs.resolve_all_asset_specs()} - {None}
    return {table: [asdict(column) for column in table_columns(connection, table)] for table in sorted(named)}


def page(columns: dict[str, list[dict[str, object]]]) -> str:
    """The file's text."""
    return json.dumps(columns, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("STRIKECAST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # root's PostgreSQL runs as another user
        os.environ["STRIKECAST_HOME"] = folder
        with migrated_database(load_settings()) as database, database.connect("reference", Role.READER) as connection:
            Path(sys.argv[1]).write_text(page(columns_of_assets(connection)), "utf-8")
