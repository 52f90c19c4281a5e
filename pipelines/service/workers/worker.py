"""A worker: takes runs from the queues, and executes each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from threading import Event, Thread
from types import FrameType
from typing import IO, Any

import dagster as dg
from celery import states
from celery.exceptions import Reject, SecurityWarning
from celery.signals import worker_ready
from celery.worker import state as celery_state
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from redis.exceptions import RedisError
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.deployment import configured_database
from pipelines.errors import single_line
from pipelines.log import Log
from pipelines.orchestration.queues import Queue
from pipelines.resources import WORKER_TAG
from pipelines.service.threads import repeat
from pipelines.service.workers import run_task
from pipelines.service.workers.celery_app import worker_app
from pipelines.service.workers.identity import Identity, host_identity, own_identity
from pipelines.service.workers.start_checks import compare
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import try_run_lock

#: Exit code of a worker that refused a run: its code or its settings are not the host's any more.
REFUSED_EXIT_CODE = 3
#: How often a worker compares itself with the host.
WATCH_SECONDS = 20.0
#: Before a message whose run could neither be executed nor be recorded as failed goes back to its queue.
UNRECORDED_SECONDS = 5.0
#: How often a worker that stops looks whether its runs have ended.
DRAIN_SECONDS = 0.5
#: The server has noticed by then that a process on its network has ended.
RELEASE_SECONDS = 2.0


@dataclass
class Worker:
    """Executes runs on this machine; `name` is shown in Dagster."""

    settings: Settings
    identity: Identity
    log: Log
    name: str
    is_stopping: bool = False
    #: Celery's worker, while this one runs.
    celery: Any = None

    def execute(self, arguments: Mapping[str, Any]) -> None:
        """Execute the run of a message, and return when it has ended. Raises Reject, which sends the message back."""
        unpacked: Any = dg.deserialize_value(json.dumps(arguments))
        run_id: str = unpacked.run_id
        if self.is_stopping:
            raise Reject("this worker is about to stop", requeue=True)
        status = self._status(run_id)
        if status not in (None, "STARTING", "CANCELING"):
            self.log(f"run {run_id} is {status}: nothing is left to execute")
            return
        began = time.monotonic()
        self.log(f"run {run_id}: taken")
        try:
            with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
                code = self._in_process({"run_id": run_id, "worker": self.name, "arguments": dict(arguments)}, output)
                reason = _crash(code, output)
        except OSError as error:  # no memory, no process ids, a full disk
            code, reason = run_task.LOST, f"could not be started: {error}"
        if code == run_task.REFUSED:
            self.log(f"run {run_id} was sent back to its queue: its page in Dagster has the reason")
            self.stop()
            raise Reject("refused", requeue=True)
        if code != run_task.ENDED and not self._record_failure(run_id, f"the process of this run {reason}"):
            time.sleep(UNRECORDED_SECONDS)
            raise Reject("not recorded", requeue=True)
        self.log(f"run {run_id} is {self._status(run_id) or 'over'}, after {time.monotonic() - began:.1f} s")

    def _status(self, run_id: str) -> str | None:
        """A run's status, "DELETED" without the run; None where it is not known: the run's process decides then."""
        try:
            with dg.DagsterInstance.get() as instance:
                run = instance.get_run_by_id(run_id)
        except Exception as error:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
            self.log(f"run {run_id}: its state is not known: {single_line(str(error))}")
            return None
        return "DELETED" if run is None else run.status.value

    def stop(self, exit_code: int = REFUSED_EXIT_CODE) -> None:
        """Take no more runs, and end with this exit code when the current ones have ended.

        While Celery itself waits for tasks at its end, it sends no heartbeats: the broker would close the connection,
        and deliver the messages of these runs again.
        """
        if self.is_stopping:
            return
        self.is_stopping = True
        consumer, queues = self.celery.consumer, self.celery.app.amqp.queues
        queues.deselect(list(queues))  # for the case that it connects once more
        if (subscribed := consumer.task_consumer) is not None:
            consumer.call_soon(subscribed.cancel)

        def end() -> None:
            while celery_state.reserved_requests:
                time.sleep(DRAIN_SECONDS)
            celery_state.should_stop = exit_code

        Thread(target=end, daemon=True).start()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """End after the current runs; at once at the second Ctrl-C, by which the kernel kills their processes."""
        if self.is_stopping and number == signal.SIGINT:
            os._exit(128 + number)
        if not self.is_stopping:
            self.log("stopping after the runs in progress; Ctrl-C again would kill them")
            Thread(target=self.stop, args=(0,)).start()  # not here, where the loop may hold a lock

    def _in_process(self, task: Mapping[str, Any], output: IO[str]) -> int:
        # A session of its own, or Ctrl-C would interrupt the run that this worker waits for.
        process = subprocess.Popen(
            [sys.executable, "-m", run_task.__spec__.name, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            text=True,
        )
        try:
            process.communicate(json.dumps(task))
        except BaseException:
            process.kill()
            raise
        return process.returncode

    def _record_failure(self, run_id: str, reason: str) -> bool:
        """Record a run whose process crashed as failed, at once; False if its message has to go back to the queue.

        A run that another process executes is left to it: the message was delivered twice.
        """
        self.log(f"run {run_id}: {reason}")
        try:
            with (
                closing(configured_database(self.settings).open("lost run")) as connection,
                dg.DagsterInstance.get() as instance,
            ):
                is_free, run = _is_free(connection, run_id), instance.get_run_by_id(run_id)
                if run is None or not is_free:
                    return run is None or run.status is not dg.DagsterRunStatus.STARTING
                if run.status is dg.DagsterRunStatus.CANCELING:
                    instance.report_run_canceled(run)
                elif not run.is_finished:
                    instance.report_run_failed(run, f"{self.name}: {reason}")
        except Exception as error:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
            self.log(f"run {run_id}: its failure cannot be recorded: {single_line(str(error))}")
            return False
        return True

    @contextmanager
    def _stored_state(self, task: Any) -> Iterator[None]:
        """Store the state of a task in Redis, where there is one; a Redis that is lost changes nothing."""

        def store(state: str) -> None:
            if self.settings.workers.result_url is not None:
                try:
                    task.backend.store_result(task.request.id, {"worker": self.name}, state)
                except (RedisError, OSError) as error:
                    self.log(f"workers.result_url: {single_line(str(error))}")

        store(states.STARTED)
        yield
        store(states.SUCCESS)

    def _watch_host(self) -> None:
        """Stop when the host runs other code or has other settings than this worker; waiting runs get the reason."""
        with dg.DagsterInstance.get() as instance:
            host = host_identity(instance)
            found = [] if host is None else list(compare(own_identity(load_settings()), host))
            if not found or self.is_stopping:
                return
            self.stop()
            reason = "; ".join(one.message for one in found)
            self.log(f"stopping: {reason}")
            waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING], tags={WORKER_TAG: ""})
            for run in instance.get_runs(waiting):
                instance.report_engine_event(f"{self.name} does not take this run, and stops: {reason}", run)

    def run(self, queues: Sequence[Queue], slots: int) -> int:
        """Take runs until SIGTERM or SIGINT, and end when the current runs have; returns the exit code."""
        app = worker_app(self.settings, queues, self.identity)

        @app.task(name=TASK_EXECUTE_JOB_NAME, bind=True)  # type: ignore[untyped-decorator]
        def execute_job(task: Any, execute_job_args_packed: Mapping[str, Any]) -> None:
            with self._stored_state(task):
                self.execute(execute_job_args_packed)

        # Celery warns of root and pickle; workers accept JSON only.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        self.celery = app.Worker(
            pool="threads",
            concurrency=slots,
            hostname=self.name,
            loglevel="ERROR",  # a message that goes back is a warning with a traceback
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,  # of events; the broker's own stay
            quiet=True,
        )
        is_ready, ended = Event(), Event()

        @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
        def announce(**_: Any) -> None:
            """Called in the main thread at each connection to the broker, after Celery has set its own handlers."""
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            if not is_ready.is_set():
                is_ready.set()
                self.log(f"{self.name} takes runs of {', '.join(queues)}, {slots} at once; Ctrl-C ends it after them")
                repeat("comparison with the host", self._watch_host, lambda: ended.wait(WATCH_SECONDS), self.log)

        self.celery.start()
        ended.set()
        return int(self.celery.exitcode or 0)


def _is_free(connection: Connection, run_id: str) -> bool:
    """Take the lock of a run whose process has just ended, which the server may notice a moment later."""
    tries = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(RELEASE_SECONDS),
        retry_error_callback=lambda _: False,
    )
    return tries(try_run_lock, connection, run_id)


def _crash(code: int, output: IO[str]) -> str:
    """How a run's process ended, with its last words."""
    if code == run_task.LOST:
        return "lost its connection to the database, and ended itself"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    output.seek(0)
    lines = [line for line in output.read().splitlines() if line.strip()]
    return f"ended with exit code {code}{f': {single_line(lines[-1], 300)}' if lines else ''}"


def worker_name(home: Path) -> str:
    """Name of a worker: its home folder's, and its machine's."""
    return f"{home.name}@{gethostname()}"
