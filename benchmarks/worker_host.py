"""A host with workers in namespaces of their own, for the drills: runs are launched as the UI launches them."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import orjson
import psutil

from benchmarks.live_processes import wait_for
from benchmarks.worker_network import HOST_ADDRESS, Services, in_worker
from pipelines.orchestration.queues import BUILD_POOLS
from pipelines.processes.run_titles import LOCATION, REPOSITORY
from pipelines.resources import SYMBOL_TAG, WORKER_TAG
from pipelines.service.builds import ingest_files, ingest_synthetic_bars
from pipelines.service.instance import prepared_instance
from pipelines.service.leftovers import run_workers
from pipelines.settings import load_settings

ROOT = Path(__file__).parents[1]
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
RETRY_TAG, ROOT_TAG = "dagster/auto_retry_run_id", "dagster/root_run_id"
#: The queue timeout is short, so that a run that waits longer than Dagster's start timeout of a host's run shows it.
SETTINGS = """
database_url = "{url}"
feed = "external"
{model}
[workers]
broker_url = "amqp://guest:guest@{address}:5672//"
result_url = "redis://{address}:6379/0"
max_concurrent_runs = 60
"""
SMALL_MODEL = "[model]\nbucket_limit = 3\nhorizon_minutes = 60\n"
LAUNCH = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""
TERMINATE = """mutation($id: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $id, terminatePolicy: $policy) { __typename ... on TerminateRunFailure { message } }
}"""
SENSORS = """{ sensorsOrError(repositorySelector: {repositoryName: "__repository__",
  repositoryLocationName: "strikecast"}) { ... on Sensors { results { id name } } } }"""
STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"


@dataclass
class Worker:
    """A `strikecast worker` in a namespace; `name` is that in Dagster."""

    namespace: str
    home: Path
    process: psutil.Popen
    log: Path

    def kill(self) -> None:
        """Kill the worker with its runs, as the loss of its machine does."""
        for one in [self.process, *self.process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def says(self, text: str) -> bool:
        """Whether its log contains a text."""
        return text in " ".join(self.log.read_text(errors="replace").split())


@dataclass
class Host:
    """The running host, its Dagster instance, and its workers."""

    folder: Path
    services: Services
    environment: dict[str, str]
    ui: str
    instance: dg.DagsterInstance
    workers: list[Worker] = field(default_factory=list)

    # Runs

    def launch(self, symbol: str) -> str:
        """Launch a build; returns the run's id. Tries again for a minute: the database may have been away."""
        selector = {"jobName": "build", "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        tags = {"tags": [{"key": SYMBOL_TAG, "value": symbol}]}
        parameters = {"selector": selector, "mode": "default", "executionMetadata": tags}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError, KeyError, TypeError, ValueError):
                return str(self.ask(LAUNCH, parameters=parameters)["launchRun"]["run"]["runId"])
            time.sleep(1)
        raise TimeoutError(f"the build of {symbol} could not be launched within 60 s")

    def cancel(self, run_id: str) -> None:
        """Cancel a run as the UI does, which for a run that has not started offers the forced termination only."""
        is_started = self.run(run_id).status is dg.DagsterRunStatus.STARTED
        self.ask(TERMINATE, id=run_id, policy="SAFE_TERMINATE" if is_started else "MARK_AS_CANCELED_IMMEDIATELY")

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL query."""
        body = {"query": query, "variables": variables}
        return httpx.post(f"{self.ui}/graphql", json=body, timeout=60).json()["data"]

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as it is stored."""
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def record(self, run_id: str) -> dg.RunRecord:
        """A run with its times."""
        return self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))[0]

    def wait(self, run_id: str, *statuses: dg.DagsterRunStatus, seconds: float = 300.0) -> float:
        """Wait until a run has one of the statuses; returns the Unix time. Raises TimeoutError."""
        self.wait_until(lambda: self.run(run_id).status in statuses, seconds)
        return time.time()

    def wait_until(self, condition: Any, seconds: float = 300.0) -> float:
        """Wait until a condition holds, also while the database is away; returns the Unix time. Raises TimeoutError."""

        def holds() -> bool:
            time.sleep(0.1)
            try:
                return bool(condition())
            except Exception:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
                return False

        wait_for(holds, seconds)
        return time.time()

    def retry_of(self, run_id: str, seconds: float = 120.0) -> str:
        """Wait for the retry of a run; returns its id."""
        self.wait_until(lambda: RETRY_TAG in self.run(run_id).tags, seconds)
        return self.run(run_id).tags[RETRY_TAG]

    def started(self, symbol: str) -> str:
        """Launch a build, and wait until a worker executes it."""
        run_id = self.launch(symbol)
        self.wait(run_id, dg.DagsterRunStatus.STARTED)
        self.wait_until(lambda: run_workers({run_id}))
        return run_id

    def process_of(self, run_id: str) -> psutil.Process | None:
        """The process of a run."""
        found = run_workers({run_id})
        return found[0] if found else None

    def worker_of(self, run_id: str) -> str:
        """Name of the worker that executes, or executed, a run."""
        return self.run(run_id).tags.get(WORKER_TAG, "")

    def slots_of(self, run_ids: Sequence[str]) -> list[str]:
        """Pools in which one of these runs holds a slot."""
        storage, ids = self.instance.event_log_storage, set(run_ids)
        return [pool for pool in BUILD_POOLS if ids & storage.get_concurrency_info(pool).active_run_ids]

    def slots_in_use(self) -> int:
        """Slots in use in all pools."""
        storage = self.instance.event_log_storage
        return sum(storage.get_concurrency_info(pool).active_slot_count for pool in BUILD_POOLS)

    def processes_of(self, run_id: str) -> list[str]:
        """The numbers of the processes that executed a run, as its log has them."""
        events = [entry.dagster_event for entry in self.instance.all_logs(run_id, dg.DagsterEventType.ENGINE_EVENT)]
        found = [event.engine_event_data.metadata.get("pid") for event in events if event is not None]
        return [str(number.value) for number in found if number is not None]

    def reason(self, run_id: str) -> str:
        """The last message with which a run failed or was canceled."""
        found = [
            entry.user_message or entry.message
            for entry in self.instance.all_logs(run_id)
            if entry.dagster_event_type in (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
        ]
        return " ".join(found[-1].split()) if found else ""

    # Publications

    def publications(self) -> list[tuple[str, str, str, float]]:
        """Run, symbol, model and Unix time of each publication."""
        with self.services.database.connect("drill", None) as connection:
            rows = connection.execute(
                "SELECT dagster_run_id, symbol, model, extract(epoch FROM published_at)::float8 "
                "FROM analytics.model_version WHERE published_at IS NOT NULL AND dagster_run_id IS NOT NULL"
            ).fetchall()
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def models_published_by(self, run_id: str) -> int:
        """Number of models that a run published."""
        return sum(one[0] == run_id for one in self.publications())

    # Workers

    def start_worker(
        self, namespace: str, *, home: Path | None = None, code: Path = ROOT, slots: int = 1, wait: bool = True
    ) -> Worker:
        """Start a worker; with `wait`, until it takes runs or has ended."""
        home = home or self.folder / f"worker{namespace}"
        home.mkdir(exist_ok=True)
        log = self.folder / f"worker{namespace}-{len(self.workers)}.log"
        command = in_worker(namespace, [sys.executable, "-m", "pipelines.cli", "worker", "--slots", str(slots)])
        environment = {**self.environment, "STRIKECAST_HOME": str(home), "PYTHONPATH": str(code)}
        with log.open("w") as output:
            process = psutil.Popen(command, env=environment, cwd=code, stdout=output, stderr=output)
        worker = Worker(namespace, home, process, log)
        self.workers.append(worker)
        if wait:
            wait_for(lambda: time.sleep(0.1) or worker.says("takes runs of") or process.poll() is not None, 120)
        return worker

    def stop_workers(self) -> None:
        """Kill all workers with their runs, and leave no run in progress."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()


@contextmanager
def running_host(
    folder: Path, services: Services, symbols: Sequence[str], *, model: str, days: int = 1, prices: Path | None = None
) -> Iterator[Host]:
    """Ingest the symbols and run `strikecast up`, without its sensors of builds, live sessions and alerts.

    `prices`: a folder of a price file for each symbol, instead of so many days of synthetic bars.
    """
    config = folder / "strikecast.toml"
    text = SETTINGS.format(url=services.database.url, address=HOST_ADDRESS, model=model)
    text += "".join(f"[symbols.{symbol}]\nstrike_tier_usd = 1.0\n" for symbol in symbols)
    config.write_text(text + "[symbols.BTC]\nenabled = false\n[symbols.ETH]\nenabled = false\n")
    config.chmod(0o600)
    home = folder / "host"
    environment = {**os.environ, "STRIKECAST_HOME": str(home), "STRIKECAST_CONFIG": str(config), "COLUMNS": "300"}
    os.environ.update(environment)
    settings = load_settings()
    with prepared_instance(settings, print):
        for symbol in symbols:
            if prices is None:
                ingest_synthetic_bars(settings, symbol, days, 1, datetime.now(UTC), lambda _: None)
            else:
                ingest_files(symbol, [prices / f"{symbol.lower()}_1m.parquet"], lambda _: None)
    command = [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"]
    with (folder / "up.log").open("w") as output:
        up = psutil.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: time.sleep(0.2) or (home / "up.json").exists() or up.poll() is not None, 300)
        with dg.DagsterInstance.get() as instance:
            url = orjson.loads((home / "up.json").read_bytes())["ui_url"]
            host = Host(folder, services, environment, url, instance)
            host.wait_until(lambda: host.ask(SENSORS)["sensorsOrError"]["results"])
            for sensor in host.ask(SENSORS)["sensorsOrError"]["results"]:
                if sensor["name"] != "run_reaper":
                    host.ask(STOP_SENSOR, id=sensor["id"])
            time.sleep(5)
            for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
                host.cancel(run.run_id)
            try:
                yield host
            finally:
                host.stop_workers()
    finally:
        up.terminate()
        with suppress(psutil.TimeoutExpired):
            up.wait(60)


def copied_checkout(folder: Path, *, changed: bool) -> Path:
    """A copy of this checkout, or one with a changed file, as a worker that was not updated has."""
    for name in ("pipelines", "assets", "strikecast"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dagster.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    if changed:
        with (folder / "pipelines" / "log.py").open("a") as file:
            file.write("\n# Earlier code.\n")
    return folder
