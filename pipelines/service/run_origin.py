"""Show runs of the command line in the Dagster UI: on the timeline, and under their job.

The UI finds a run's job by its origin, the code location and job name, which a run in this process does not have.
Dagster has no parameter for it; `dagster run migrate-repository` sets it by the same call as `set_origin`.
"""

from json import dumps
from typing import Any

import dagster as dg

from pipelines.processes.run_titles import LOCATION, REPOSITORY

#: Tags by which the UI lists the runs of a job and of a location.
TAGS = {".dagster/repository": f"{REPOSITORY}@{LOCATION}", "dagster/code_location": LOCATION}


def set_origin(instance: dg.DagsterInstance, run_id: str) -> None:
    """Set the origin of a run that has TAGS and none yet; does nothing before the run is stored.

    Dagster rewrites a run while its status changes and may thereby drop the origin: call it again at the end. The
    status itself has a column of its own.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None and run.remote_job_origin is None:
        instance.run_storage.replace_job_origin(run, _origin(run.job_name))


def _origin(job: str) -> Any:
    """The origin of a job in the form in which Dagster stores it; the location's server need not run."""
    location = {"__class__": "RegisteredRepositoryLocationOrigin", "location_name": LOCATION}
    repository = {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": location,
        "repository_name": REPOSITORY,
    }
    stored = {"__class__": "ExternalPipelineOrigin", "external_repository_origin": repository, "pipeline_name": job}
    return dg.deserialize_value(dumps(stored))
