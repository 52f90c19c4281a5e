"""A run's lock: one process has it, and without it nothing is committed."""

from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from waiting import wait_until

from pipelines.errors import SupersededError
from pipelines.resources import RUN_LOCK_VARIABLE, DatabaseResource, SettingsResource
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import is_run_lock_held, require_run_lock, try_run_lock

END_LOCK_HOLDERS = """SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def test_one_process_holds_the_lock_of_a_run(database: Database) -> None:
    run_id = str(uuid4())
    with database.connect("test", Role.PIPELINE) as reader:
        assert not is_run_lock_held(reader, run_id)
        with closing(database.open("first")) as first, closing(database.open("second")) as second:
            assert try_run_lock(first, run_id)
            assert not try_run_lock(second, run_id)
            require_run_lock(reader, run_id, first.info.backend_pid)
            with pytest.raises(SupersededError, match="has lost its lock"):
                require_run_lock(reader, run_id, second.info.backend_pid)
        # The server releases it when it has noticed the end of the connection.
        wait_until(lambda: not is_run_lock_held(reader, run_id), "the release")


def resource(database: Database, run_id: str) -> Any:
    run = SimpleNamespace(run_id=run_id, tags={}, job_name="build")
    context = cast("dg.InitResourceContext", SimpleNamespace(run=run, log=None))
    settings = SettingsResource()
    settings.setup_for_execution(context)
    return DatabaseResource(settings=settings, url=database.url).yield_for_execution(context)


def test_a_worker_that_lost_its_lock_commits_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = str(uuid4())
    with database.connect("test", Role.OWNER) as connection:
        connection.execute("CREATE TABLE analytics.lock_test (n integer)")
        connection.execute("GRANT INSERT ON analytics.lock_test TO strikecast_pipeline")
    lock = database.open("run on a worker")
    assert try_run_lock(lock, run_id)
    monkeypatch.setenv(RUN_LOCK_VARIABLE, str(lock.info.backend_pid))
    with resource(database, run_id) as held:
        with held.transaction("test") as connection:
            connection.execute("INSERT INTO analytics.lock_test VALUES (1)")
        with database.connect("test", None) as killer:
            killer.execute(END_LOCK_HOLDERS)
        with pytest.raises(SupersededError), held.transaction("test") as connection:
            connection.execute("INSERT INTO analytics.lock_test VALUES (2)")
        with closing(database.open("its retry")) as other:
            assert try_run_lock(other, run_id)
            with pytest.raises(SupersededError), held.transaction("test") as connection:
                connection.execute("INSERT INTO analytics.lock_test VALUES (3)")
    lock.close()
    with database.connect("test", Role.OWNER) as connection:
        assert connection.execute("SELECT n FROM analytics.lock_test").fetchall() == [(1,)]
        connection.execute("DROP TABLE analytics.lock_test")


def test_the_server_ends_connections_of_lost_machines_within_20_s(database: Database) -> None:
    with database.connect("test", None) as connection:
        given = psycopg.conninfo.conninfo_to_dict(database.conninfo("test", None))["options"]
        assert "tcp_keepalives_idle=8" in str(given)
        if connection.info.host and not connection.info.host.startswith("/"):
            names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
            idle, interval, count = (int(connection.execute(f"SHOW {name}").fetchone()[0]) for name in names)  # type: ignore[index]
            assert idle + interval * count <= 20
