"""Provide a Dagster instance on a current database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg

from pipelines.deployment import dagster_environment, running_server, write_dagster_home
from pipelines.log import Log
from pipelines.resources import SYMBOLS
from pipelines.settings import Settings
from pipelines.storage.migrations.run import newer_dagster_refused
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import DAGSTER_MIGRATION_LOCK, acquire
from pipelines.storage.postgres.schema import MIGRATION_LOCK_TIMEOUT_SECONDS, ensure_database, migrate
from pipelines.storage.prices.history import newest_bar_at


@contextmanager
def prepared_instance(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the server with a current schema, Dagster's database, DAGSTER_HOME, and the environment for children.

    Dagster's database is created or migrated to the installed Dagster, and the symbols with bars are registered.
    """
    with running_server(settings, log) as database:
        before = migrate(database)
        if not before.is_current:
            log(f"database schema {before.found or 'none'} -> {before.needed}")
        ensure_database(database, settings.dagster_database)
        write_dagster_home(settings)
        os.environ.update(dagster_environment(settings, database))
        _prepare(settings, database, log)
        yield database


def _prepare(settings: Settings, database: Database, log: Log) -> None:
    # Dagster does not migrate its database itself: pools of a newer Dagster fail on an older one.
    with_wait = replace(database, lock_timeout_seconds=MIGRATION_LOCK_TIMEOUT_SECONDS)
    with with_wait.connect("dagster migration", None, autocommit=True) as connection:
        acquire(connection, DAGSTER_MIGRATION_LOCK)
        with dg.DagsterInstance.get() as instance:
            with newer_dagster_refused(database, settings.dagster_database):
                instance.upgrade()
            registered = register_symbols(instance, symbols_with_bars(settings, database))
    if registered:
        log(f"registered {', '.join(registered)} in Dagster")


def register_symbols(instance: dg.DagsterInstance, symbols: list[str]) -> list[str]:
    """Add the symbols that are not partitions yet, and return them; safe to run concurrently."""
    assert SYMBOLS.name is not None
    missing = [symbol for symbol in symbols if not instance.has_dynamic_partition(SYMBOLS.name, symbol)]
    if missing:
        instance.add_dynamic_partitions(SYMBOLS.name, missing)
    return missing


def register_symbol(symbol: str) -> None:
    """Add a symbol as a partition of the instance of DAGSTER_HOME."""
    with dg.DagsterInstance.get() as instance:
        register_symbols(instance, [symbol])


def symbols_with_bars(settings: Settings, database: Database) -> list[str]:
    """Configured symbols that have bars."""
    with database.connect("build", Role.PIPELINE) as connection:
        return [symbol for symbol in settings.symbols if newest_bar_at(connection, symbol) is not None]
