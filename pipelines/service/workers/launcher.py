"""The host's launcher: runs with a queue go to workers, all others to the code server of this machine.

Whether a run on a worker is alive is known by its advisory lock, not by the state of its task (docs/decisions/0036).
"""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg
from amqp.exceptions import AMQPError
from celery.exceptions import DuplicateTaskNameWarning
from dagster_celery.launcher import (  # what Dagster's launchers share, which Dagster itself does not export
    CeleryRunLauncher,
    CheckRunHealthResult,
    LaunchRunContext,
    WorkerStatus,
)
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG
from kombu.exceptions import OperationalError

from pipelines.deployment import configured_database
from pipelines.errors import single_line
from pipelines.orchestration.queues import Queue
from pipelines.processes.run_titles import QUEUE_TAG
from pipelines.resources import (
    CODE_TAG,
    MAX_RETRIES_TAG,
    MESSAGE_TAG,
    SCHEMA_TAG,
    SENT,
    SETTINGS_TAG,
    SYMBOL_TAG,
    UNSENT,
    WORKER_TAG,
)
from pipelines.service.log_setup import command_log
from pipelines.service.workers.celery_app import app_arguments, declare_queues, queue_name
from pipelines.service.workers.identity import own_identity, publish_identity
from pipelines.settings import CurrentSettings, load_settings
from pipelines.storage.postgres.connection import Role
from pipelines.storage.postgres.locks import is_run_lock_held, try_run_lock

#: A run whose worker was lost is started once more, as a whole: its half-built generation is never published.
RETRY_TAGS = {MAX_RETRIES_TAG: "1", "dagster/retry_strategy": "ALL_STEPS"}
#: A broker that did not answer is not asked again for this long.
BROKER_PAUSE_SECONDS = 20.0


class WorkerLauncher(CeleryRunLauncher):
    """Launches runs on workers or on the host, by their tag; `dagster.yaml` names it."""

    def __init__(self, inst_data: Any = None) -> None:
        self._settings = load_settings()
        self._current = CurrentSettings(self._settings, command_log.warning)
        self._identity = own_identity(self._settings)
        self._host = dg.DefaultRunLauncher()
        self._broker_failed_until = 0.0
        # dagster-celery registers its task anew for each run that it launches.
        warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)
        super().__init__(default_queue=Queue.BUILDS, inst_data=inst_data, **app_arguments(self._settings))
        declare_queues(self.celery, self._settings, list(Queue), self._identity)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options: the broker's address contains a password, which belongs into no file but the settings."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "WorkerLauncher":
        """The launcher. Raises SettingsError."""
        del config_value
        return cls(inst_data)

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Called by Dagster before anything else."""
        super().register_instance(instance)
        self._host.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run where its queue says. Raises DagsterLaunchFailedError, and the broker's errors."""
        run = context.dagster_run
        if QUEUE_TAG not in run.tags:
            self._host.launch_run(context)
            return
        identity = own_identity(self._current())
        if identity != self._identity:
            publish_identity(self._instance, identity)
            self._identity = identity
        tags = {
            **RETRY_TAGS,
            CODE_TAG: identity.code,
            SCHEMA_TAG: identity.schema,
            SETTINGS_TAG: identity.settings_of(run.tags.get(SYMBOL_TAG)),
            WORKER_TAG: "",
            MESSAGE_TAG: SENT,
            DAGSTER_CELERY_QUEUE_TAG: queue_name(self._settings, run.tags[QUEUE_TAG], identity),
        }
        self._instance.add_run_tags(run.run_id, tags)
        self._send(run.with_tags({**run.tags, **tags}))

    def _send(self, run: dg.DagsterRun) -> bool:
        """Send a run's message; without a broker the run waits until `send_unsent` does. Returns whether it was sent.

        The daemon, which starts all runs, does not wait for a broker that has just failed.
        """
        reason = "it failed a moment ago"
        if time.monotonic() >= self._broker_failed_until:
            try:
                super().launch_run(LaunchRunContext(dagster_run=run, workspace=None))
            except (OperationalError, AMQPError, OSError) as error:
                self._broker_failed_until = time.monotonic() + BROKER_PAUSE_SECONDS
                reason = single_line(str(error)) or type(error).__name__
            else:
                return True
        if run.tags.get(MESSAGE_TAG) == SENT:
            self._instance.add_run_tags(run.run_id, {MESSAGE_TAG: UNSENT})
            text = f"the broker cannot be reached: {reason}; the run is sent to its queue when it can"
            self._instance.report_engine_event(text, run)
        return False

    def send_unsent(self) -> None:
        """Send the messages of the runs that could not be sent; one that is sent twice starts its run once."""
        unsent = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING], tags={WORKER_TAG: "", MESSAGE_TAG: UNSENT})
        for run in self._instance.get_runs(unsent):
            if not self._send(run):
                return
            self._instance.add_run_tags(run.run_id, {MESSAGE_TAG: SENT})

    def terminate(self, run_id: str) -> bool:
        """Cancel a run: one that has begun is interrupted by its worker, one that waits is canceled at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if QUEUE_TAG not in run.tags:
            return bool(self._host.terminate(run_id))
        self._instance.report_run_canceling(run)
        with configured_database(self._settings).connect("cancel", Role.PIPELINE, autocommit=True) as connection:
            # While this connection has its lock the run cannot begin; afterwards its worker finds that it has ended.
            if try_run_lock(connection, run_id):
                self._instance.report_run_canceled(run, "canceled while no worker executed it")
        return True

    @property
    def supports_resume_run(self) -> bool:
        """A build is started anew instead."""
        return False

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run lives, by its lock; the run reaper watches the host's runs."""
        if WORKER_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        with configured_database(self._settings).connect("run health", Role.PIPELINE) as connection:
            if is_run_lock_held(connection, run.run_id):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
        worker = run.tags.get(WORKER_TAG) or "its worker"
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, f"{worker} no longer holds the run's lock: it was killed, or its machine was lost"
        )

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What is known of a run's worker, for Dagster's messages."""
        del include_container_logs
        if WORKER_TAG not in run.tags:
            return None
        return f"queue {run.tags.get(DAGSTER_CELERY_QUEUE_TAG)}, worker {run.tags.get(WORKER_TAG) or 'none yet'}"
