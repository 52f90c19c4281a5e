"""What a schedule requests at an instant."""

from datetime import datetime

import dagster as dg

from pipelines.definitions import defs
from pipelines.resources import default_resources


def tick(instance: dg.DagsterInstance, name: str, at: datetime) -> tuple[list[dg.RunRequest], str]:
    """The runs that the schedule requests at `at` (aware UTC), and why it requests none."""
    schedule = defs.get_repository_def().get_schedule_def(name)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=defs.get_repository_def(),
        resources=default_resources(),
    ) as context:
        data = schedule.evaluate_tick(context)
    return list(data.run_requests or ()), data.skip_message or ""


def ticked(instance: dg.DagsterInstance, name: str, at: datetime) -> str:
    """The keys of the runs of `tick`, or why there are none, in a line."""
    requests, skipped = tick(instance, name, at)
    return skipped or " ".join(str(request.run_key) for request in requests)
