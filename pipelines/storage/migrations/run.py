"""Alembic at work on our schema; apart from `storage.schema`, since importing it takes longer than most commands."""

from importlib import resources
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command, op
from alembic.config import Config

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.statements import Statements

SQL = Statements("pipelines.storage.postgres.schema")


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision, in one transaction."""
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


def run_migration_file(name: str, *, as_owner: bool = True) -> None:
    """Run a migration's .sql file, of any number of statements, in the migration's transaction.

    `as_owner`: what it creates belongs to the owner role; otherwise to the login that migrates.
    """
    text = resources.files("pipelines.storage.migrations").joinpath("versions", name).read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    if as_owner:
        connection.execute(SQL["set_role_owner"])
    connection.execute(text)
    connection.execute(SQL["reset_role"])
