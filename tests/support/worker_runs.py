"""A host with workers: the running system, its runs by Dagster's GraphQL, and worker processes."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from system import System
from waiting import TIMEOUT_SECONDS, wait_until

from benchmarks.worker_host import LAUNCH, TERMINATE
from pipelines.processes.pid_file import process_tree
from pipelines.processes.run_titles import LOCATION, REPOSITORY
from pipelines.resources import SYMBOL_TAG, WORKER_TAG
from pipelines.service.leftovers import run_workers


@dataclass
class Host:
    """A running host, the variables of its processes, and its Dagster instance."""

    system: System
    variables: dict[str, str]
    ui_url: str
    instance: dg.DagsterInstance
    workers: int = field(default=0)

    def launch(self, job: str, symbol: str, **tags: str) -> str:
        """Launch a job for a symbol, as the UI does; returns the run's id."""
        selector = {"jobName": job, "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        given = [{"key": name, "value": value} for name, value in {SYMBOL_TAG: symbol, **tags}.items()]
        parameters = {"selector": selector, "mode": "default", "executionMetadata": {"tags": given}}
        return str(self._ask(LAUNCH, parameters=parameters)["launchRun"]["run"]["runId"])

    def cancel(self, run_id: str) -> None:
        """Cancel a run as the UI does, which for a run that has not started offers the forced termination only."""
        is_started = self.run(run_id).status is dg.DagsterRunStatus.STARTED
        policy = "SAFE_TERMINATE" if is_started else "MARK_AS_CANCELED_IMMEDIATELY"
        result = self._ask(TERMINATE, id=run_id, policy=policy)["terminateRun"]
        assert result["__typename"] == "TerminateRunSuccess", result

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.ui_url}/graphql", data=body, headers=headers)  # noqa: S310 (our own)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            data: dict[str, Any] = json.loads(answer.read())["data"]
        return data

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as it is stored."""
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def wait(self, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRun:
        """Wait until a run has one of the statuses."""
        wait_until(lambda: self.run(run_id).status in statuses, f"{statuses} of run {run_id}")
        return self.run(run_id)

    def retry_of(self, run_id: str) -> str:
        """Wait for the run by which Dagster retries another; returns its id."""
        wait_until(lambda: "dagster/auto_retry_run_id" in self.run(run_id).tags, f"a retry of {run_id}")
        return self.run(run_id).tags["dagster/auto_retry_run_id"]

    def messages(self, run_id: str) -> str:
        """All messages of a run."""
        return "\n".join(entry.message for entry in self.instance.all_logs(run_id))

    def process_of(self, run_id: str) -> psutil.Process:
        """Wait for the process of a run, and return it."""
        wait_until(lambda: run_workers({run_id}), f"the process of run {run_id}")
        return run_workers({run_id})[0]

    @contextmanager
    def worker(self, *arguments: str, **variables: str) -> Iterator["RunningWorker"]:
        """A worker process with a home folder of its own; it is ended with its runs."""
        self.workers += 1
        home = self.system.home.parent / f"worker{self.workers}"
        log = home.parent / f"{home.name}.log"
        command = [sys.executable, "-m", "pipelines.cli", "worker", *arguments]
        environment = {**self.variables, "STRIKECAST_HOME": str(home), **variables}
        with log.open("w") as output:
            process = psutil.Popen(command, env=environment, stdout=output, stderr=output)
        it = RunningWorker(process, log)
        try:
            yield it
        finally:
            for one in process_tree(process)[::-1]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait(TIMEOUT_SECONDS)


@dataclass(frozen=True)
class RunningWorker:
    """A `strikecast worker`, and the file of its messages."""

    process: psutil.Popen
    log: Path

    def wait_until_ready(self) -> None:
        """Wait until it takes runs."""
        wait_until(lambda: "takes runs of" in self.log.read_text() or self.process.poll() is not None, "the worker")
        assert self.process.poll() is None, self.log.read_text()

    def stop(self) -> int:
        """Stop it as a service manager does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return int(self.process.wait(TIMEOUT_SECONDS))


def has_worker(run: dg.DagsterRun) -> bool:
    """Whether a worker has begun to execute a run."""
    return bool(run.tags.get(WORKER_TAG))


def check(host: Host, **variables: str) -> subprocess.CompletedProcess[str]:
    """`strikecast worker --check` in a home folder of its own, in this process."""
    home = host.system.home.parent / "checked"
    return host.system.invoke("worker", "--check", **{**host.variables, "STRIKECAST_HOME": str(home), **variables})
