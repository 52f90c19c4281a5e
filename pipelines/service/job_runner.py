"""Running a job of ours on the Dagster instance from this process, with progress."""

from collections.abc import Mapping
from threading import Lock
from typing import Any
from uuid import uuid4

import dagster as dg

from pipelines.definitions import defs
from pipelines.errors import BuildError
from pipelines.log import Log
from pipelines.resources import SYMBOLS

#: Dagster would print every event; what matters is said by `log`, and all of it is kept on the instance.
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


def register_symbols(instance: dg.DagsterInstance, symbols: list[str]) -> None:
    """Make sure that every symbol is a partition."""
    assert SYMBOLS.name is not None
    missing = [symbol for symbol in symbols if not instance.has_dynamic_partition(SYMBOLS.name, symbol)]
    if missing:
        instance.add_dynamic_partitions(SYMBOLS.name, missing)


def run_job(
    name: str, symbol: str, config: Mapping[str, Mapping[str, Any]] | None = None, log: Log = lambda _: None
) -> str:
    """Run a job for one symbol in this process, recorded on the instance that DAGSTER_HOME names.

    `config`: by asset. `log` gets a line per finished step and failed check. Returns the run's id; raises BuildError
    with the step's own message when it fails, or when a check that matters did.
    """
    with dg.DagsterInstance.get() as instance:
        register_symbols(instance, [symbol])
        job = defs.resolve_job_def(name)
        ops = {asset: {"config": dict(values)} for asset, values in (config or {}).items() if values}
        run_id = str(uuid4())
        progress = _Progress(symbol, log)
        # From the database, as the run goes on; the last events may come too late, so the result is told as well.
        instance.watch_event_logs(run_id, None, lambda entry, _cursor: progress.tell(entry.dagster_event))
        try:
            result = job.execute_in_process(
                run_config={"ops": ops, "loggers": QUIET},
                instance=instance,
                partition_key=symbol,
                run_id=run_id,
                raise_on_error=False,
            )
        finally:
            instance.event_log_storage.dispose()
        for event in result.all_events:
            progress.tell(event)
        if not result.success:
            raise BuildError(f"{symbol}: {_reason(result)} (run {run_id[:8]} in the Dagster UI)")
    return run_id


class _Progress:
    """Tells each finished step and failed check once."""

    def __init__(self, symbol: str, log: Log) -> None:
        self._symbol, self._log = symbol, log
        self._told: set[str] = set()
        self._lock = Lock()

    def tell(self, event: dg.DagsterEvent | None) -> None:
        """A line for an event that matters and was not told yet."""
        line = None if event is None else self._line(event)
        with self._lock:
            if line is None or line in self._told:
                return
            self._told.add(line)
        self._log(f"{self._symbol} {line}")

    def _line(self, event: dg.DagsterEvent) -> str | None:
        if event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            return f"{event.step_key} {event.step_success_data.duration_ms / 1000:.1f} s"
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                key = evaluation.asset_key.to_user_string()
                return f"{key} check {evaluation.check_name} failed ({evaluation.severity.value.lower()})"
        return None


def _reason(result: dg.ExecuteInProcessResult) -> str:
    failures = [event for event in result.all_events if event.is_step_failure]
    for event in failures:
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {' '.join(error.message.split(':', 1)[-1].split())}"
    return "the run failed"
