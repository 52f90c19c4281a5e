"""Whether the database of `read_url` can be read from, for alerts."""

from pipelines.deployment import inspect_replica
from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.errors import DatabaseError
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Database


def replica_problems(settings: Settings, primary: Database) -> list[Problem]:
    """Why reads of `settings.read_url` are refused or fail; nothing without it.

    Whether it is a replica of `primary` is not known while that is away. A replica that restarts, or waits for a long
    transaction, recovers by itself.
    """
    try:
        report = inspect_replica(settings, primary)
    except DatabaseError:  # the primary's own problem
        report = inspect_replica(settings)
    if report is None or report.problem is None:
        return []
    return [Problem("replica", report.problem, RunbookHeading.REPLICA, transient=True)]
