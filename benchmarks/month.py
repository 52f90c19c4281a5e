"""A month of nights in a quarter of an hour: `python -m benchmarks.month [--days 30] [--write docs/reliability.md]`.

`strikecast up` runs all the while with its live session. Each simulated day gets a day's rows (ticks and answers a
minute apart, 24 sessions with their snapshots, 24 runs of the live job copied from a real one), then every schedule
that was due that day has its run launched through Dagster's web server and daemon, with the schedule's own time, which
is what the plans take for now. What a run leaves is dated back to that day. Tools, server, daemon and kills are real.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import orjson
import psutil
import psycopg
from dagster._utils.schedules import schedule_execution_time_iterator

from benchmarks import month_data
from benchmarks.live_processes import wait_for
from benchmarks.results import replace_between_markers
from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.orchestration.schedules import ALL
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder

MARKS = "<!-- month -->", "<!-- /month -->"
#: Before the month begins there are so many days already.
HISTORY_DAYS = 31
LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } }
}
"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass
class Night:
    """One simulated day: what ran and how it ended, what was killed, and how large things were in the end."""

    day: date
    runs: list[tuple[str, str]] = field(default_factory=list)
    killed: str = ""
    dagster_rows: int = 0
    dagster_bytes: int = 0
    price_log_days: int = 0
    snapshots: int = 0
    backups: int = 0


@dataclass
class Month:
    """One run."""

    home: Path
    environment: dict[str, str]
    rng: random.Random
    nights: list[Night] = field(default_factory=list)
    ui: str = ""

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.home / "postgres")

    @property
    def database(self) -> Database:
        return Database(self.server.url())

    @property
    def dagster_url(self) -> str:
        return self.server.url("dagster")

    def run(self, days: int) -> None:
        """Up, the month, and down."""
        up = self.start()
        try:
            first = datetime.now(UTC).date() - timedelta(days=days)
            month_data.fill(self.database, first - timedelta(days=HISTORY_DAYS), HISTORY_DAYS)
            wait_for(probabilities_path(self.home / "output", "BTC").exists)
            template = month_data.wait_for_a_live_run(self.dagster_url)
            for number in range(days):
                night = Night(first + timedelta(days=number))
                self.nights.append(night)
                month_data.fill(self.database, night.day, 1)
                month_data.copy_live_runs(self.dagster_url, template, night.day)
                self.one_night(night, number, last=number == days - 1)
                self.measure(night)
                print(
                    f"{night.day} {', '.join(f'{job} {status}' for job, status in night.runs)}; killed: "
                    f"{night.killed or '-'}; dagster {night.dagster_rows:,} rows, {night.dagster_bytes / 1e6:.1f} MB; "
                    f"days {night.price_log_days}; backups {night.backups}",
                    flush=True,
                )
        finally:
            up.terminate()
            up.wait()

    def start(self) -> subprocess.Popen[bytes]:
        """`strikecast up`, once its UI answers."""
        up = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.home / "up.log").open("wb"),
        )
        state = self.home / "up.json"
        wait_for(state.exists)
        self.ui = str(orjson.loads(state.read_bytes())["ui_url"])
        wait_for(lambda: _answers(self.ui))
        return up

    def one_night(self, night: Night, number: int, *, last: bool) -> None:
        """Launch what was due; on two days of three kill something meanwhile; wait for the end of all.

        On the last day one after the other, and nothing is killed: what is wrong after it stays wrong.
        """
        due = sorted(due_on(night.day), key=lambda one: one[0])
        before, workers = datetime.now(UTC), self.workers()
        launched = []
        for at, schedule in due:
            launched.append((at, schedule, self.launch(schedule, at)))
            if last:
                self.finished(launched[-1][2])
        if number % 3 and not last:
            night.killed = self.kill(self.rng.choice(["session", "server", "run"]), workers)
        for at, schedule, run_id in launched:
            night.runs.append((str(schedule.job_name), self.finished(run_id)))
            month_data.date_back_run(self.dagster_url, run_id, at)
            if schedule.job_name == "backup_database":
                month_data.date_back_backups(self.home / "backups", before, at)

    def launch(self, schedule: Any, at: datetime) -> str:
        """Ask the web server for a run as the schedule would; its id."""
        with dg.build_schedule_context(scheduled_execution_time=at) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
        parameters = {
            "selector": {
                "repositoryLocationName": "strikecast",
                "repositoryName": "__repository__",
                "jobName": schedule.job_name,
            },
            "runConfigData": request.run_config,
            "executionMetadata": {
                "tags": [
                    {"key": "dagster/schedule_name", "value": schedule.name},
                    {"key": "dagster/scheduled_execution_time", "value": at.isoformat()},
                ]
            },
        }
        for _ in range(60):  # the server may have been killed a moment ago
            with suppress(httpx.HTTPError, KeyError, ValueError):
                answer = httpx.post(
                    f"{self.ui}/graphql", json={"query": LAUNCH, "variables": {"parameters": parameters}}, timeout=60
                ).json()["data"]["launchRun"]
                if answer["__typename"] == "LaunchRunSuccess":
                    return str(answer["run"]["runId"])
                print(answer, flush=True)
            time.sleep(1)
        raise TimeoutError(f"{schedule.job_name} could not be launched")

    def finished(self, run_id: str, seconds: float = 400.0) -> str:
        """How a run ended; the watchdog fails one that was killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(psycopg.OperationalError), psycopg.connect(self.dagster_url) as connection:
                row = connection.execute("SELECT status FROM runs WHERE run_id = %s", [run_id]).fetchone()
                if row is not None and row[0] in ENDED:
                    return str(row[0])
            time.sleep(0.2)
        raise TimeoutError(f"run {run_id} did not end")

    def workers(self) -> set[int]:
        """Processes below the code server: runs."""
        state = orjson.loads((self.home / "up.json").read_bytes())
        with suppress(psutil.NoSuchProcess):
            return {one.pid for one in psutil.Process(state["children"][0][0]).children(recursive=True)}
        return set()

    def kill(self, what: str, before: set[int]) -> str:
        """Kill the live session, the server, or a run that was just launched; what was killed."""
        wait_for(lambda: self.workers() - before)
        time.sleep(self.rng.uniform(0.0, 6.0))
        with suppress(OSError, ValueError, IndexError):
            if what == "session":
                pid = orjson.loads((self.home / "output" / FENCE).read_bytes())["pid"]
            elif what == "server":
                pid = int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
            else:
                pid = self.rng.choice(sorted(self.workers() - before))
            os.kill(pid, signal.SIGKILL)
            return what
        return ""

    def measure(self, night: Night) -> None:
        """Sizes at the end of a day."""
        wait_for(lambda: _reachable(self.dagster_url))
        with psycopg.connect(self.dagster_url) as connection:
            month_data.date_back_live_runs(connection, night.day)
            night.dagster_rows, night.dagster_bytes = month_data.dagster_size(connection)
        with psycopg.connect(self.database.url) as connection:
            night.price_log_days, night.snapshots = month_data.live_size(connection)
        night.backups = len(list((self.home / "backups").glob("*/manifest.json")))

    def checks(self) -> list[tuple[str, str, bool]]:
        """Claim, figure, whether it holds."""
        with self.server.running() as url:
            checks = month_data.checks(Database(url), self.nights[-1].day, len(self.nights) + HISTORY_DAYS)
            drilled = self.drill_all()
        ended = [status for night in self.nights for _, status in night.runs]
        failed = [status for status in ended if status != "SUCCESS"]
        killed = sum(bool(night.killed) for night in self.nights)
        seventh, last = self.nights[6], self.nights[-1]
        grown = 100 * (last.dagster_rows / seventh.dagster_rows - 1)
        grown_bytes = 100 * (last.dagster_bytes / seventh.dagster_bytes - 1)
        return [
            *checks,
            (
                "runs of maintenance that ended",
                f"{len(ended)}, of which not well {len(failed)} beside {killed} kills",
                len(failed) <= killed,
            ),
            (
                "listed backups that restore, 0 differences",
                f"{sum(drilled.values())} of {len(drilled)}",
                all(drilled.values()),
            ),
            (
                "Dagster's own tables after 7 and after all days, rows",
                f"{seventh.dagster_rows:,} and {last.dagster_rows:,}: {grown:+.1f} %",
                abs(grown) <= 10,
            ),
            (
                "the same, bytes with indexes",
                f"{seventh.dagster_bytes / 1e6:.1f} and {last.dagster_bytes / 1e6:.1f} MB: {grown_bytes:+.1f} %",
                grown_bytes <= 10,
            ),
        ]

    def drill_all(self) -> dict[str, bool]:
        """Restore every backup that is listed."""
        listed = orjson.loads(self.command("backup", "list", "--json"))["backups"]
        drilled = {}
        for one in listed:
            with suppress(subprocess.CalledProcessError):
                drilled[one["name"]] = False
                self.command("backup", "drill", one["name"])
                drilled[one["name"]] = True
        return drilled

    def command(self, *arguments: str) -> bytes:
        """Output of a command of ours."""
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return done.stdout


#: Schedules that request a run per symbol.
PER_SYMBOL = {"backfill", "weekly_calibration", "daily_live_calibration"}


def due_on(day: date) -> list[tuple[datetime, Any]]:
    """What the schedules of maintenance have on a day, each with its time."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    due = []
    for schedule in ALL:
        if schedule.name in PER_SYMBOL:
            continue
        times = schedule_execution_time_iterator(midnight.timestamp() - 1, schedule.cron_schedule, "UTC")
        at = next(times)
        if at < midnight + timedelta(days=1):
            due.append((at, schedule))
    return due


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/server_info", timeout=2).status_code == 200
    return False


def _reachable(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def report(month: Month) -> str:
    """Verdicts and the log, as Markdown."""
    nights = month.nights
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {len(nights)} simulated days.",
        "",
        "| claim | found | holds |",
        "|---|---|---|",
        *(f"| {claim} | {figure} | {'yes' if holds else '**no**'} |" for claim, figure, holds in month.checks()),
        "",
        "| day | runs | not well | killed | Dagster's rows | MB | days of ticks | snapshots | backups |",
        "|---:|---:|---|---|---:|---:|---:|---:|---:|",
        *(
            f"| {number} | {len(night.runs)} "
            f"| {', '.join(job for job, status in night.runs if status != 'SUCCESS') or '-'} "
            f"| {night.killed or '-'} | {night.dagster_rows:,} | {night.dagster_bytes / 1e6:.1f} "
            f"| {night.price_log_days} | {night.snapshots:,} | {night.backups} |"
            for number, night in enumerate(nights, start=1)
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Prepare, simulate, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.month", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="put the result between the marks in this file")
    arguments = parser.parse_args()
    with temporary_server_folder("strikecast-month-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        environment = {**os.environ, "STRIKECAST_HOME": folder, "STRIKECAST_RETENTION": '{"answer_days": 30}'}
        for command in (["sample", "BTC", "--days", "30"], ["sample", "ETH", "--days", "30"], ["build"]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *command], env=environment, check=True)
        month = Month(home, environment, random.Random(arguments.seed))  # noqa: S311 (nothing secret)
        month.run(arguments.days)
        text = report(month)
        print(text)
    if arguments.write is not None:
        replace_between_markers(arguments.write, MARKS, text)


if __name__ == "__main__":
    main()
