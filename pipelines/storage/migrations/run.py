"""Run migrations with Alembic; apart from `postgres.schema`, because its import takes longer than most commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.util.exc import CommandError

from pipelines.errors import SchemaVersionError
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.statements import Statements

SQL = Statements("pipelines.storage.postgres.schema")


def upgrade(database: Database, revision: str = "head") -> None:
    """Upgrade the schema to a revision."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.conninfo("migrate", None)),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        configuration = Config()
        configuration.set_main_option("script_location", str(Path(__file__).parent))
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)
        connection.commit()


@contextmanager
def newer_dagster_refused(database: Database, name: str) -> Iterator[None]:
    """Raise SchemaVersionError where Dagster's migrations do not know the revision of its database."""
    try:
        yield
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise SchemaVersionError(
            f"Dagster's database {name} at {database.describe()} was migrated by a newer Dagster than the installed "
            f"{version('dagster')} ({error}): install the newer strikecast again, or restore a backup from before its "
            "upgrade (docs/upgrades.md)"
        ) from error


def run_migration_file(name: str, *, as_owner: bool = True) -> None:
    """Run all statements of a migration's .sql file in the migration's transaction.

    `as_owner`: the owner role owns the created objects; otherwise the login role that runs the migration does.
    """
    text = resources.files("pipelines.storage.migrations").joinpath("versions", name).read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    if as_owner:
        connection.execute(SQL["set_role_owner"])
    connection.execute(text)
    connection.execute(SQL["reset_role"])
