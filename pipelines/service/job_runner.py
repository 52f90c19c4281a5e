"""Run a Dagster job in this process, recorded on the instance, with progress."""

from collections.abc import Mapping
from threading import Lock
from typing import Any
from uuid import uuid4

import dagster as dg

from pipelines.definitions import defs
from pipelines.errors import BuildError
from pipelines.log import Log
from pipelines.service.instance import register_symbols
from pipelines.service.run_origin import TAGS, set_origin

#: Dagster would print every event; `log` gets the important ones, and the instance stores all of them.
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


def run_job(
    name: str, symbol: str, config: Mapping[str, Mapping[str, Any]] | None = None, log: Log = lambda _: None
) -> dict[str, dict[str, Any]]:
    """Run a job for one symbol in this process, recorded on the instance of DAGSTER_HOME.

    Returns the metadata of each materialized asset.

    `config` is by asset. `log` gets a line for each finished step, failed check and message of a step. Raises
    BuildError with the message of the failed step or check.
    """
    with dg.DagsterInstance.get() as instance:
        register_symbols(instance, [symbol])
        ops = {asset: {"config": dict(values)} for asset, values in (config or {}).items() if values}
        run_id = str(uuid4())
        logged: set[str] = set()
        lock = Lock()

        def log_event(event: dg.DagsterEvent | None, message: str = "") -> None:
            line = message if event is None else _progress_line(event)
            with lock:
                if line and line not in logged:
                    logged.add(line)
                    log(f"{symbol} {line}")

        # While the run goes on, events come from the database; the last ones may arrive too late, so they are taken
        # from the result.
        def on_entry(entry: dg.EventLogEntry, _cursor: str) -> None:
            if entry.dagster_event_type is dg.DagsterEventType.RUN_START:
                set_origin(instance, run_id)
            log_event(entry.dagster_event, entry.user_message)

        instance.watch_event_logs(run_id, None, on_entry)
        try:
            result = defs.resolve_job_def(name).execute_in_process(
                run_config={"ops": ops, "loggers": QUIET},
                instance=instance,
                partition_key=symbol,
                run_id=run_id,
                tags=TAGS,
                raise_on_error=False,
            )
        finally:
            instance.event_log_storage.dispose()
        set_origin(instance, run_id)
        for event in result.all_events:
            log_event(event)
        if not result.success:
            raise BuildError(f"{symbol}: {_failure(result)} (run {run_id[:8]} in the Dagster UI)")
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key is not None
    }


def _progress_line(event: dg.DagsterEvent) -> str | None:
    if event.event_type is dg.DagsterEventType.STEP_SUCCESS:
        return f"{event.step_key} {event.step_success_data.duration_ms / 1000:.1f} s"
    if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed:
            asset = check.asset_key.to_user_string()
            return f"{asset} check {check.check_name} failed ({check.severity.value.lower()})"
    return None


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """The root cause of the first failed step."""
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {' '.join(error.message.split(':', 1)[-1].split())}"
    return "the run failed"
