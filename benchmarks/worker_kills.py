"""Builds on two workers with faults at random: `python -m benchmarks.worker_kills [--builds 50] [--json FILE]`.

As `benchmarks.worker_drills`, with a fault every few seconds: the process of a run or a whole worker is killed, the
broker's connections or those of the workers to the database are cut, or the code of a worker changes while it waits.
Several runs with different `--seed` may be added up: `--add FILE ...` prints the sum of their JSON files.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil
from dagster import DagsterRunStatus as Status
from dagster import RunsFilter

from benchmarks.worker_drills import SYMBOLS
from benchmarks.worker_faults import MODELS, final_run, late_publications
from benchmarks.worker_host import SMALL_MODEL, Host, Worker, copied_checkout, running_host
from benchmarks.worker_network import HOST_ADDRESS, VARIABLE, WORKERS, run_in_namespaces, services
from pipelines.processes.run_titles import run_of_title
from pipelines.storage.postgres.embedded import temporary_server_folder

FAULTS = ("run killed", "worker killed", "broker connections cut", "database connections cut", "code changed")
#: The code changes rarely: its worker stops for good.
WEIGHTS = (4, 3, 2, 3, 1)
#: What is appended to a file of the code: it notes the processes that load it.
LATER_CODE = """
from os import getpid
from pathlib import Path

Path(__file__).with_name(f"{getpid()}.later").touch()
"""
#: Builds in progress at once.
OUTSTANDING = 6
#: For the builds in progress after the last launch.
END_SECONDS = 300


@dataclass
class Tally:
    """Counts over all builds; `noticed` has, by fault, the seconds until a run that was hit had ended."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    noticed: dict[str, list[float]] = field(default_factory=dict)
    retries: int = 0
    published_by_two: int = 0
    republished_by_retry: int = 0
    published_late: int = 0
    by_changed_code: int = 0
    without_reason: int = 0
    partly_published: int = 0
    slots_left: int = 0
    seconds: float = 0.0
    loads: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Campaign:
    """One run of builds and faults."""

    host: Host
    rng: random.Random
    tally: Tally = field(default_factory=Tally)
    current: dict[str, Worker] = field(default_factory=dict)
    #: Runs that a fault hit: fault and Unix time.
    hit: dict[str, tuple[str, float]] = field(default_factory=dict)
    #: Home folders of workers whose code changed.
    changed: set[str] = field(default_factory=set)

    def executing(self, worker: str) -> list[str]:
        """Runs that a worker executes, by the title of their processes."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in self.current[worker].process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has ended, or is about to
                    found.append(run_of_title(" ".join(child.cmdline())))
        return [run_id for run_id in found if run_id]

    def start(self, worker: str) -> None:
        """Start a worker with the host's code; its copy of the code is its own, so that it can change."""
        number = len(self.host.workers)
        checkout = copied_checkout(self.host.folder / f"code{number}", changed=False)
        home = self.host.folder / f"home{number}"
        self.current[worker] = self.host.start_worker(worker, home=home, code=checkout, wait=False)

    def fault(self) -> None:
        """Make one fault at random, and note which runs it hit."""
        worker, name = self.rng.choice(WORKERS), self.rng.choices(FAULTS, WEIGHTS)[0]
        runs, at = self.executing(worker), time.time()
        if name in FAULTS[:2] and not runs:
            return  # nothing would be lost
        self.tally.faults[name] += 1
        if name == "run killed":
            process = self.host.process_of(runs[0])
            if process is not None:
                process.kill()
        elif name == "worker killed":
            self.current[worker].kill()
        elif name == "broker connections cut":
            subprocess.run(["ss", "-K", "sport", "=", ":5672"], check=False, capture_output=True)
            runs = []
        elif name == "database connections cut":
            self.host.services.cut_connections(beside=HOST_ADDRESS)
            runs = [run for one in WORKERS for run in self.executing(one)]
        else:
            home = self.current[worker].home.name
            self.changed.add(home)
            with (self.code_of(home) / "log.py").open("a") as file:
                file.write(LATER_CODE)
            runs = []
        self.hit.update({run: (name, at) for run in runs if run not in self.hit})

    def code_of(self, home: str) -> Path:
        """The package of the worker with this home folder."""
        return self.host.folder / home.replace("home", "code") / "pipelines"

    def loaded_later_code(self, run_id: str) -> bool:
        """Whether the process that executed a run has loaded the changed code of its worker."""
        home = self.host.worker_of(run_id).split("@")[0]
        return home in self.changed and any(
            (self.code_of(home) / f"{process}.later").exists() for process in self.host.processes_of(run_id)
        )

    def run(self, builds: int, minutes: float) -> list[str]:
        """Launch builds for so many minutes, and make faults until they have ended; returns their runs."""
        deadline, launched, open_builds = time.monotonic() + minutes * 60, list[str](), set[str]()
        next_fault, is_launching = time.monotonic() + 20, True
        while (is_launching or open_builds) and time.monotonic() < deadline + END_SECONDS:
            is_launching = len(launched) < builds and time.monotonic() < deadline
            for worker in WORKERS:
                if worker not in self.current or self.current[worker].process.poll() is not None:
                    self.start(worker)
            while is_launching and len(open_builds) < OUTSTANDING:
                launched.append(self.host.launch(SYMBOLS[len(launched) % len(SYMBOLS)]))
                open_builds.add(launched[-1])
                is_launching = len(launched) < builds
            if is_launching and time.monotonic() > next_fault:
                self.fault()
                next_fault = time.monotonic() + self.rng.uniform(4, 14)
            try:
                open_builds = {run_id for run_id in open_builds if not final_run(self.host, run_id)}
            except Exception as error:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
                print(f"{type(error).__name__}: {error}", flush=True)
            time.sleep(0.5)
        self.tally.problems += [f"run {run_id} has not ended: {self.host.run(run_id).status}" for run_id in open_builds]
        return launched

    def count(self, launched: list[str]) -> None:
        """Count how the builds ended."""
        tally, published = self.tally, self.host.publications()
        all_runs = {run.run_id: run for run in self.host.instance.get_runs(RunsFilter(job_name="build"))}
        for run_id in launched:
            chain = [run_id, *(one for one, run in all_runs.items() if run.root_run_id == run_id)]
            last = all_runs[final_run(self.host, run_id) or run_id]
            tally.retries += len(chain) - 1
            by_model = Counter(model for one, _, model, _ in published if one in chain)
            by_last = sorted(model for one, _, model, _ in published if one == last.run_id and model in MODELS)
            succeeded = sum(all_runs[one].status is Status.SUCCESS for one in chain)
            tally.published_by_two += succeeded > 1
            tally.republished_by_retry += any(count > 1 for count in by_model.values())
            reason = self.host.reason(last.run_id)
            tally.without_reason += last.status is not Status.SUCCESS and not reason
            tally.partly_published += last.status is Status.SUCCESS and by_last != sorted(MODELS)
            tally.ends[last.status.value.lower()] += 1
            if last.status is not Status.SUCCESS:
                print(f"{last.run_id[:8]} {last.status.value.lower()}: {reason[:200]}", flush=True)
        tally.published_late = late_publications(self.host)
        for run_id, run in all_runs.items():
            tally.by_changed_code += run.status is Status.SUCCESS and self.loaded_later_code(run_id)
        for run_id, (name, at) in self.hit.items():
            ended = self.host.record(run_id).end_time
            if ended is not None and self.host.run(run_id).status is not Status.SUCCESS:  # of any job
                tally.noticed.setdefault(name, []).append(ended - at)


def table(tally: Tally) -> str:
    """The counts as Markdown."""
    rows = [
        ("builds", str(sum(tally.ends.values()))),
        ("published", str(tally.ends["success"])),
        ("failed with their reason after one retry", str(tally.ends["failure"] - tally.without_reason)),
        ("ended without a reason", str(tally.without_reason)),
        ("retries", str(tally.retries)),
        ("builds that two runs completed", str(tally.published_by_two)),
        ("models published by a lost run, and again by its retry", str(tally.republished_by_retry)),
        ("publications by a run that had been recorded as ended", str(tally.published_late)),
        ("succeeded without publishing every model", str(tally.partly_published)),
        ("runs executed by changed code", str(tally.by_changed_code)),
        ("slots in use at the end", str(tally.slots_left)),
        *((f"faults: {name}", str(count)) for name, count in sorted(tally.faults.items())),
        *(
            (f"noticed after, median / longest: {name}", f"{median(found):.1f} / {max(found):.1f} s of {len(found)}")
            for name, found in sorted(tally.noticed.items())
        ),
        ("minutes", f"{tally.seconds / 60:.0f}"),
        ("load", f"{min(tally.loads):.0f} to {max(tally.loads):.0f}"),
        ("problems", "; ".join(tally.problems) or "none"),
    ]
    return "\n".join(["| what | count |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])


def added(paths: list[Path]) -> Tally:
    """The sum of saved tallies."""
    total = Tally()
    for path in paths:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
        for name, value in found.items():
            own = getattr(total, name)
            if name == "noticed":
                for fault, seconds in value.items():
                    own.setdefault(fault, []).extend(seconds)
            elif isinstance(own, Counter):
                own.update(value)
            else:
                setattr(total, name, own + value)
    return total


def main() -> int:
    """Build with faults; returns 1 if anything was published wrongly, or a slot stayed in use."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_kills", description=__doc__)
    parser.add_argument("--builds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=9.0, help="launch no more after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=30, help="days of synthetic bars of each symbol")
    parser.add_argument("--json", type=Path, default=Path(".benchmarks/worker_kills.json"))
    parser.add_argument("--add", type=Path, nargs="*")
    arguments = parser.parse_args()
    if arguments.add:
        print(table(added(arguments.add)))
        return 0
    if VARIABLE not in os.environ:
        return run_in_namespaces("benchmarks.worker_kills", sys.argv[1:])
    with (
        temporary_server_folder("strikecast-drills-") as folder,
        services(folder) as running,
        running_host(folder, running, SYMBOLS, model=SMALL_MODEL, days=arguments.days) as host,
    ):
        campaign = Campaign(host, random.Random(arguments.seed))  # noqa: S311 (no secret)
        tally, began = campaign.tally, time.monotonic()
        tally.loads.append(os.getloadavg()[0])
        launched = campaign.run(arguments.builds, arguments.minutes)
        tally.seconds = time.monotonic() - began
        tally.loads.append(os.getloadavg()[0])
        end = time.monotonic() + 60
        while time.monotonic() < end and host.slots_in_use():
            time.sleep(1)
        tally.slots_left = host.slots_in_use()
        campaign.count(launched)
    print(table(tally))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_bytes(orjson.dumps(vars(tally), option=orjson.OPT_INDENT_2))
    wrong = tally.published_by_two + tally.published_late + tally.by_changed_code + tally.without_reason
    return int(wrong > 0 or tally.slots_left > 0 or bool(tally.problems))


if __name__ == "__main__":
    sys.exit(main())
