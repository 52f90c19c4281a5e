"""Dagster's storage, which `dagster.yaml` names: PostgreSQL, at the address of STRIKECAST_DAGSTER_URL.

dagster-postgres connects for each statement, and asks again and again whether a table, column or index exists, for the
sake of older schemas: on an idle system 12 connections and as many of these questions a second, more than a third of
its CPU time. Here all storages of a process share one pool, and ask once what exists.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import click
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine

from pipelines.deployment import DAGSTER_URL_VARIABLE

MISSING = (
    f"{DAGSTER_URL_VARIABLE} is not set: run `strikecast dagster -- ARGS...` instead of `dagster ARGS...`, or while "
    '`strikecast up` runs `eval "$(strikecast env)"` first'
)
#: A server process grows with what it has seen, so that its connection is replaced.
RECYCLE_SECONDS = 600
#: A network that is cut is noticed after 5 s, as it is by a new connection.
KEEPALIVES = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5_000}


#: What exists, as (address, question, name): an upgrade adds and removes nothing of it.
_EXISTING: set[tuple[str, ...]] = set()


def _asking_once(storage: type[Any], *questions: str) -> type[Any]:
    """A subclass whose methods of these names remember that the answer was yes, for all instances of this process."""

    def remembering(question: str) -> Callable[..., bool]:
        ask = getattr(storage, question)

        def answer(self: Any, *arguments: Any) -> bool:
            names = [one for one in arguments if isinstance(one, str)]  # not the connection
            key = (self.postgres_url, question, *names)
            if key not in _EXISTING and ask(self, *arguments):
                _EXISTING.add(key)
            return key in _EXISTING

        return answer

    return type(storage.__name__, (storage,), {question: remembering(question) for question in questions})


class _PoolLimits(PostgresEventLogStorage):
    """Accepts another limit of pools than that of the previous start.

    Dagster inserts the limit and, where that fails because the pool has one, updates it in the same transaction, which
    PostgreSQL has aborted by then: each look at the queue would fail. Without such a pool nothing fails.
    """

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        """Remove the limit of an earlier start, and set the present one."""
        limit = self._instance.global_op_concurrency_default_limit
        for pool in self.get_pool_limits():
            if pool.name == concurrency_key and pool.from_default and pool.limit != limit:
                self.delete_concurrency_limit(concurrency_key)
        return super().initialize_concurrency_limit_to_default(concurrency_key)


_RunStorage = _asking_once(
    PostgresRunStorage,
    "has_built_index",
    "has_run_stats_index_cols",
    "has_bulk_actions_selector_cols",
    "has_backfill_id_column",
    "has_bulk_action_job_name_column",
    "has_backfill_tags_table",
)
_EventLogStorage = _asking_once(
    _PoolLimits, "has_table", "has_secondary_index", "has_asset_key_col", "_has_asset_key_col_on_connection"
)
_ScheduleStorage = _asking_once(
    PostgresScheduleStorage, "has_built_index", "has_instigators_table", "_has_instigators_table"
)


class Storage(DagsterPostgresStorage):
    """Without the address, Dagster's commands end with one line; its own configuration would print a traceback."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        """Create Dagster's tables if they are missing, at the first use of a database in this process."""
        is_known = (postgres_url,) in _EXISTING
        super().__init__(postgres_url, should_autocreate_tables=not is_known, inst_data=inst_data)
        _EXISTING.add((postgres_url,))
        self._run_storage = _RunStorage(postgres_url, should_autocreate_tables=False)
        self._event_log_storage = _EventLogStorage(postgres_url, should_autocreate_tables=False)
        self._schedule_storage = _ScheduleStorage(postgres_url, should_autocreate_tables=False)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = _engine(postgres_url)  # there is no option for the pool

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options: the address contains a password, which belongs into no file."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "Storage":
        """The storage. Raises click's error, which Dagster's commands print as one line."""
        del config_value
        url = os.environ.get(DAGSTER_URL_VARIABLE)
        if not url:
            raise click.ClickException(MISSING)
        return cls(url, inst_data)


def ask_again() -> None:
    """Forget what exists, since a database may have been lost or replaced."""
    _EXISTING.clear()


@cache
def _engine(url: str) -> Any:
    """The engine of all storages of this process.

    One connection is kept, and checked before use; others that are needed beside it are closed after use.
    """
    return create_pg_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        connect_args=KEEPALIVES,
        pool_size=1,
        max_overflow=-1,
    )
