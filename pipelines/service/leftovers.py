"""Stop processes: those of an earlier `strikecast up` that was killed, and Dagster's runs in progress."""

import signal
from collections.abc import Collection, Sequence
from contextlib import suppress

import psutil

from pipelines.deployment import configured_database, dagster_database
from pipelines.log import Log
from pipelines.processes.pid_file import process_tree, read_pid_file
from pipelines.processes.run_titles import run_of_title
from pipelines.settings import Settings
from pipelines.storage.monitoring.dagster_state import runs_in_progress

STOP_TIMEOUT_SECONDS = 15


def stop_leftovers(settings: Settings, log: Log) -> None:
    """Stop the children and runs of an `up` that was killed; its lock is held, so it has ended."""
    leftovers = []
    before = read_pid_file(settings)
    for pid, created_at in [] if before is None else before["children"]:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - created_at) < 1.0:
                leftovers.append(process)
    if leftovers:
        log(f"ending {len(leftovers)} processes left by a killed strikecast")
        stop(leftovers, signal.SIGTERM)
    with dagster_database(settings, configured_database(settings)).connect("up", None) as connection:
        in_progress = runs_in_progress(connection)
    orphans = run_workers(in_progress)
    if orphans:
        log(f"ending {len(orphans)} runs left by a killed strikecast")
        stop(orphans, signal.SIGINT)


def run_workers(run_ids: Collection[str]) -> list[psutil.Process]:
    """The processes of these runs on this machine; those of a killed code server have no parent."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if run_of_title(" ".join(process.info["cmdline"] or ())) in run_ids
    ]


def cancel_runs() -> set[str]:
    """Report the runs in progress as being canceled, so that they do not end as failed; returns the ids of the host's.

    Workers interrupt theirs themselves. Only this needs Dagster, at the end of `strikecast up`, whose supervisor does
    without its 100 MB until then.
    """
    import dagster as dg

    from pipelines.orchestration.run_reaper import IN_PROGRESS
    from pipelines.resources import WORKER_TAG

    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
        for run in runs:
            is_waiting = run.status is dg.DagsterRunStatus.STARTING and run.tags.get(WORKER_TAG) == ""
            if run.status is dg.DagsterRunStatus.QUEUED or is_waiting:
                instance.report_run_canceled(run)
            elif run.status is not dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceling(run)
    return {run.run_id for run in runs if WORKER_TAG not in run.tags}  # a worker may be on this machine, too


def stop(processes: Sequence[psutil.Process], number: signal.Signals | None = None) -> None:
    """Signal processes, wait for their trees to end, and kill what is left after STOP_TIMEOUT_SECONDS."""
    trees = [member for process in processes for member in process_tree(process)]
    for process in processes:
        if number is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    _, alive = psutil.wait_procs(trees, timeout=STOP_TIMEOUT_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT_SECONDS)
