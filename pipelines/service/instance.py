"""Provide a Dagster instance on a current database.

`python -m pipelines.service.instance`, within `prepared_environment`, does it for a process that does not load Dagster.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg

from pipelines.deployment import configured_database
from pipelines.errors import StrikecastError
from pipelines.log import Log
from pipelines.resources import SYMBOLS
from pipelines.service.dagster_storage import ask_again
from pipelines.service.preparation import prepared_environment
from pipelines.service.workers.host import prepare_workers
from pipelines.settings import Settings, load_settings
from pipelines.storage.migrations.run import newer_dagster_refused
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import DAGSTER_MIGRATION_LOCK, acquire
from pipelines.storage.postgres.schema import MIGRATION_LOCK_TIMEOUT_SECONDS
from pipelines.storage.prices.history import newest_bar_at


@contextmanager
def prepared_instance(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """As `prepared_environment`, with an instance for this process.

    Dagster's database is created or migrated to the installed Dagster, and the symbols with bars are registered.
    """
    with prepared_environment(settings, log) as database:
        _prepare(settings, database, log)
        yield database


def _prepare(settings: Settings, database: Database, log: Log) -> None:
    # Dagster does not migrate its database itself: pools of a newer Dagster fail on an older one.
    with_wait = replace(database, lock_timeout_seconds=MIGRATION_LOCK_TIMEOUT_SECONDS)
    with with_wait.connect("dagster migration", None, autocommit=True) as connection:
        acquire(connection, DAGSTER_MIGRATION_LOCK)
        ask_again()
        with dg.DagsterInstance.get() as instance:
            with newer_dagster_refused(database, settings.dagster_database):
                instance.upgrade()
            registered = register_symbols(instance, symbols_with_bars(settings, database))
    if registered:
        log(f"registered {', '.join(registered)} in Dagster")


def register_symbols(instance: dg.DagsterInstance, symbols: list[str]) -> list[str]:
    """Add the symbols that are not partitions yet, and return them; safe to run concurrently."""
    assert SYMBOLS.name is not None
    known = frozenset(instance.get_dynamic_partitions(SYMBOLS.name))
    missing = [symbol for symbol in symbols if symbol not in known]
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


def main() -> None:
    """Prepare Dagster's database, also for workers; what was done is printed, an error on one line."""
    settings = load_settings()
    try:
        _prepare(settings, configured_database(settings), print)
        with dg.DagsterInstance.get() as instance:
            prepare_workers(instance, settings)
    except StrikecastError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
