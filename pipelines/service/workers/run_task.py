"""The process of one run on a worker: `python -m pipelines.service.workers.run_task PARENT`, its task on stdin.

It takes the run's lock, checks that this is the code, the schema and the settings that the host asked for, and executes
the run. It ends with its worker, with its lock, and when others have ended the run.
"""

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import closing, suppress
from importlib import import_module
from threading import Thread

import dagster as dg
from celery import Celery
from dagster_celery.tasks import create_execute_job_task
from setproctitle import setproctitle

from pipelines.deployment import configured_database
from pipelines.errors import SchemaVersionError
from pipelines.processes.priority import raise_niceness
from pipelines.processes.run_titles import RUN_TITLE
from pipelines.resources import CODE_TAG, RUN_LOCK_VARIABLE, SETTINGS_TAG, SYMBOL_TAG, WORKER_TAG
from pipelines.service.workers.identity import host_identity, own_identity
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection, Database, DriverError
from pipelines.storage.postgres.locks import try_run_lock
from pipelines.storage.postgres.schema import require_current

#: Exit codes: there is nothing (more) to execute; the run goes back to its queue; the lock, and so the run, was lost.
#: Any other is a crash.
ENDED, REFUSED, LOST = 0, 3, 4
WATCH_SECONDS = 1.0
#: For the last events of a run that ends by itself.
END_SECONDS = 10.0
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Execute the run whose task is on stdin; returns the exit code."""
    end_with_parent(int(sys.argv[1]))
    raise_niceness()
    # Before the digest of its files is taken, so that no file changes between the check and the execution.
    import_module("pipelines.definitions")
    task = json.load(sys.stdin)
    run_id, worker = task["run_id"], task["worker"]
    settings = load_settings()
    database = configured_database(settings)
    with dg.DagsterInstance.get() as instance, closing(database.open("run on a worker")) as connection:
        if not _take_lock(instance, connection, run_id):
            return ENDED  # delivered twice: another process executes it
        os.environ[RUN_LOCK_VARIABLE] = str(connection.info.backend_pid)
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status is dg.DagsterRunStatus.STARTING:
            reason = refusal(instance, run, settings, database)
            if reason is not None:
                instance.report_engine_event(f"{worker} sent the run back to its queue: {reason}", run)
                return REFUSED
            instance.add_run_tags(run_id, {WORKER_TAG: worker})
            setproctitle(f"{RUN_TITLE}{run.job_name} {run_id}")
            Thread(target=_watch, args=(instance, connection, run_id), daemon=True).start()
            create_execute_job_task(Celery("run")).run(task["arguments"])
            run = instance.get_run_by_id(run_id)
        # Of any other run the message was delivered twice: it has ended, or Dagster is about to fail it.
        if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, f"canceled before {worker} began")
    return ENDED


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its worker ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(LOST)


def _take_lock(instance: dg.DagsterInstance, connection: Connection, run_id: str) -> bool:
    """Take the lock of a run; False once another process has begun to execute it.

    While the run is still starting, its lock may be that of a machine that was lost, which the server soon frees.
    """
    while not try_run_lock(connection, run_id):
        run = instance.get_run_by_id(run_id)
        if run is None or run.status is not dg.DagsterRunStatus.STARTING:
            return False
        time.sleep(WATCH_SECONDS)
    return True


def refusal(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings, database: Database) -> str | None:
    """Why this installation must not execute a run; None if it may. Raises DatabaseError."""
    own, host = own_identity(settings), host_identity(instance)
    wanted = run.tags.get(CODE_TAG, "")
    if wanted != own.code:
        return f"its code is {own.code[:12]}, the run needs {wanted[:12] or 'none of ours'}"
    if host is not None and host.code != own.code:
        return f"its code is {own.code[:12]}, the host's is now {host.code[:12]}"
    try:
        require_current(database)
    except SchemaVersionError as error:
        return str(error)
    if run.tags.get(SETTINGS_TAG) != own.settings_of(run.tags.get(SYMBOL_TAG)):
        differing = [] if host is None else own.differing_settings(host)
        return f"its settings are not those of the host: {', '.join(differing) or 'the host has just changed its own'}"
    return None


def _watch(instance: dg.DagsterInstance, connection: Connection, run_id: str) -> None:
    """End this process when its lock is lost or others have ended its run; interrupt the run to cancel it."""
    interrupted = False
    while True:
        time.sleep(WATCH_SECONDS)
        try:
            connection.execute("SELECT 1")
        except DriverError:
            os._exit(LOST)
        run = None
        with suppress(Exception):  # Dagster's storage raises errors of several libraries; the lock is what counts
            run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            connection.close()  # without the lock, nothing more is committed
            time.sleep(END_SECONDS)
            os._exit(LOST)
        if run is not None and run.status is dg.DagsterRunStatus.CANCELING and not interrupted:
            interrupted = True
            os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
