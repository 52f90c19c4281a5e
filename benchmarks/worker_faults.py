"""The drills of runs on workers: each makes one fault while builds wait or run, and measures what follows."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dagster import DagsterRunStatus as Status

from benchmarks.worker_host import ENDED, ROOT_TAG, Host, copied_checkout
from benchmarks.worker_network import connect_worker, start_redis

#: Every build publishes these models, and further ones when they are due.
MODELS = ("momentum", "standardised")


@dataclass
class Outcome:
    """What one drill saw: seconds from the fault, by name, how each build ended, and what should not be so."""

    drill: str
    seconds: dict[str, float] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_builds(host: Host, outcome: Outcome, run_ids: list[str], seconds: float = 400.0) -> None:
    """Wait until builds and their retries have ended; each is published once or failed or canceled with a reason."""
    finals = []
    for run_id in run_ids:
        host.wait_until(lambda run_id=run_id: final_run(host, run_id), seconds)  # type: ignore[misc]
        finals.append(final_run(host, run_id))
    host.wait_until(lambda: not host.slots_of([*run_ids, *finals]), 90)
    published = host.publications()
    for run_id, final in zip(run_ids, finals, strict=True):
        status, reason = host.run(final).status, host.reason(final)
        found = "published" if status is Status.SUCCESS else status.value.lower()
        outcome.ends[found] = outcome.ends.get(found, 0) + 1
        models = [model for one, _, model, _ in published if one == final and model in MODELS]
        if (status is Status.SUCCESS) != (sorted(models) == sorted(MODELS)):
            outcome.problems.append(f"run {final[:8]}: {found}, and published {', '.join(models) or 'nothing'}")
        if status is not Status.SUCCESS and not reason:
            outcome.problems.append(f"run {final[:8]}: {found} without a reason")
        if status is not Status.SUCCESS or final != run_id:
            outcome.notes.append(f"{host.run(run_id).status.value.lower()}: {host.reason(run_id) or 'no reason'}")
    late = late_publications(host, run_ids)
    if late:
        outcome.problems.append(f"{late} publications by runs that had ended otherwise before")


def final_run(host: Host, run_id: str) -> str:
    """The last run of a build when it has ended for good, else an empty string."""
    run = host.run(run_id)
    while run.status is Status.FAILURE:
        if retry := run.tags.get("dagster/auto_retry_run_id"):
            run = host.run(retry)
        elif run.tags.get("dagster/will_retry") == "true":
            return ""
        elif "dagster/will_retry" not in run.tags and time.time() - (host.record(run.run_id).end_time or 0) < 30:
            return ""  # not decided yet
        else:
            break
    return run.run_id if run.status in ENDED else ""


def late_publications(host: Host, run_ids: list[str] | None = None) -> int:
    """Publications by a run after its recorded end: by a process whose run was taken for lost, or canceled."""
    late = 0
    for run_id, _, _, at in host.publications():
        run = host.run(run_id)
        if run_ids is not None and run_id not in run_ids and run.tags.get(ROOT_TAG) not in run_ids:
            continue
        ended = host.record(run_id).end_time
        late += run.status is not Status.SUCCESS and ended is not None and at > ended
    return late


def _lost(host: Host, outcome: Outcome, run_id: str, at: float) -> None:
    """Measure the way of a build whose process was lost at a Unix time: failed, slot free, retry published."""
    outcome.seconds["failed"] = host.wait(run_id, Status.FAILURE) - at
    outcome.seconds["slot free"] = host.wait_until(lambda: not host.slots_of([run_id])) - at
    retry = host.retry_of(run_id)
    outcome.seconds["retry published"] = host.wait(retry, Status.SUCCESS) - at
    check_builds(host, outcome, [run_id])


def _started_beside_another_worker(host: Host) -> str:
    """A run that the first worker executes while a second one waits; it is held until that one does."""
    host.start_worker("1")
    run_id = host.started("S01")
    process = host.process_of(run_id)
    assert process is not None
    process.suspend()
    host.start_worker("2")
    process.resume()
    return run_id


def worker_killed(host: Host, outcome: Outcome) -> None:
    """SIGKILL of a worker with its run; another worker waits."""
    run_id = _started_beside_another_worker(host)
    first, second = host.workers[-2:]
    at = time.time()
    first.kill()
    _lost(host, outcome, run_id, at)
    second.kill()


def run_killed(host: Host, outcome: Outcome) -> None:
    """SIGKILL of the run's process; its worker goes on."""
    host.start_worker("1")
    run_id = host.started("S01")
    process = host.process_of(run_id)
    assert process is not None
    at = time.time()
    process.kill()
    _lost(host, outcome, run_id, at)


def network_cut(host: Host, outcome: Outcome) -> None:
    """A worker's network is cut for 60 s; another worker waits."""
    run_id = _started_beside_another_worker(host)
    at = time.time()
    connect_worker("1", up=False)
    try:
        outcome.seconds["failed"] = host.wait(run_id, Status.FAILURE, Status.SUCCESS) - at
        outcome.seconds["slot free"] = host.wait_until(lambda: not host.slots_of([run_id])) - at
        time.sleep(max(0.0, 60 - (time.time() - at)))
    finally:
        connect_worker("1", up=True)
    restored = time.time()
    again = host.launch("S02")
    check_builds(host, outcome, [run_id, again])
    host.workers[-1].kill()
    last = host.launch("S03")
    outcome.seconds["restored worker's next build published, after the cut"] = (
        host.wait(last, Status.SUCCESS) - restored
    )


def machine_lost(host: Host, outcome: Outcome) -> None:
    """A worker's machine vanishes for good: its network is cut, and not restored while another worker retries."""
    run_id = _started_beside_another_worker(host)
    at = time.time()
    connect_worker("1", up=False)
    try:
        _lost(host, outcome, run_id, at)
    finally:
        connect_worker("1", up=True)


def broker_silent(seconds: float) -> Callable[[Host, Outcome], None]:
    """RabbitMQ is stopped, so that it is silent, while one build runs, one waits in its queue and one is launched."""

    def drill(host: Host, outcome: Outcome) -> None:
        host.start_worker("1")
        running = host.started("S01")
        waiting = host.launch("S02")
        host.wait(waiting, Status.STARTING, Status.STARTED)
        at = time.time()
        host.services.signal_broker(signal.SIGSTOP)
        try:
            launched = host.launch("S03")
            host.wait(running, *ENDED)
            outcome.seconds["running build ended"] = (host.record(running).end_time or 0) - at
            if seconds > 20:
                noticed = host.wait_until(lambda: "the broker cannot be reached" in messages(host, launched), 120)
                outcome.seconds["broker's loss in the run's log"] = noticed - at
            time.sleep(max(0.0, seconds - (time.time() - at)))
        finally:
            host.services.signal_broker(signal.SIGCONT)
        ended = time.time()
        check_builds(host, outcome, [running, waiting, launched])
        outcome.seconds["all published, after the silence"] = time.time() - ended

    return drill


def redis_lost(host: Host, outcome: Outcome) -> None:
    """Redis is killed for good while one build runs and one is launched; a worker is started without it as well."""
    host.start_worker("1")
    running = host.started("S01")
    host.services.redis.kill()
    host.services.redis.wait()
    try:
        launched = host.launch("S02")
        if host.start_worker("2").process.poll() is not None:
            outcome.problems.append("a worker does not start without Redis")
        check_builds(host, outcome, [running, launched])
    finally:
        host.services.redis = start_redis(host.folder)


def _database_lost(host: Host, outcome: Outcome, fault: Callable[[], None]) -> None:
    """Measure from a fault of the database, while one build runs and one waits, until both are published."""
    host.start_worker("1")
    running, waiting = host.started("S01"), host.launch("S02")
    at = time.time()
    fault()
    outcome.seconds["failed"] = host.wait(running, Status.FAILURE, Status.SUCCESS) - at
    check_builds(host, outcome, [running, waiting])
    outcome.seconds["all published"] = time.time() - at


def database_restarted(host: Host, outcome: Outcome) -> None:
    """The database server is killed while one build runs and one waits, and started again after 15 s."""

    def restart() -> None:
        at = time.time()
        host.services.restart_server(15)
        outcome.seconds["server back"] = time.time() - at

    _database_lost(host, outcome, restart)


def connections_cut(host: Host, outcome: Outcome) -> None:
    """All connections to the database server are terminated while a build runs and one waits."""
    _database_lost(host, outcome, host.services.cut_connections)


def canceled(host: Host, outcome: Outcome) -> None:
    """One build is canceled in its queue, one while it runs."""
    host.start_worker("1")
    running, waiting = host.started("S01"), host.launch("S02")
    host.wait(waiting, Status.STARTING)
    for name, run_id in (("in the queue", waiting), ("while it ran", running)):
        at = time.time()
        host.cancel(run_id)
        outcome.seconds[f"canceled {name}"] = host.wait(run_id, *ENDED) - at
        outcome.seconds[f"slot free, canceled {name}"] = (
            host.wait_until(lambda one=run_id: not host.slots_of([one])) - at
        )  # type: ignore[misc]
    next_one = host.launch("S03")
    check_builds(host, outcome, [running, waiting, next_one])


def old_worker(host: Host, outcome: Outcome) -> None:
    """A worker with one changed file is started; then the file of a worker is changed while it waits for builds."""
    at = time.time()
    refused = host.start_worker("1", code=copied_checkout(host.folder / "old", changed=True))
    outcome.seconds["refused at its start"] = time.time() - at
    code = refused.process.wait(30)
    outcome.notes.append(f"exit code {code}: {refused.log.read_text().strip()[-200:]}")
    if code == 0 or not refused.says("the code differs from the host's"):
        outcome.problems.append(f"a worker with other code ended with {code}")
    checkout = copied_checkout(host.folder / "same", changed=False)
    changing = host.start_worker("2", code=checkout)
    if changing.process.poll() is not None:
        outcome.problems.append(f"a copy of the host's code is refused: {changing.log.read_text().strip()[-300:]}")
        return
    with (checkout / "pipelines" / "log.py").open("a") as file:
        file.write("\n# Later code.\n")
    run_id = host.launch("S01")  # the process of the run reads the changed file
    host.wait_until(lambda: "sent the run back" in messages(host, run_id), 60)
    outcome.notes.append(next(line for line in messages(host, run_id).splitlines() if "sent the run back" in line))
    sent_back = time.time()
    host.start_worker("1")
    host.wait(run_id, Status.SUCCESS)
    outcome.seconds["published by another worker, after it was sent back"] = time.time() - sent_back
    if "worker2" in host.worker_of(run_id):
        outcome.problems.append("the worker with other code executed the run")
    check_builds(host, outcome, [run_id])


def messages(host: Host, run_id: str) -> str:
    """All messages of a run."""
    return "\n".join(entry.user_message or entry.message for entry in host.instance.all_logs(run_id))


def disk_full(host: Host, outcome: Outcome) -> None:
    """The disk of a worker's home folder and of its temporary files is full; then there is room again."""
    home = host.folder / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", home], check=True)
    before = host.environment.get("TMPDIR")
    try:
        host.environment["TMPDIR"] = str(home)
        host.start_worker("1", home=home)
        (home / "filler").write_bytes(b"")
        with (home / "filler").open("wb") as file:
            try:
                while True:
                    file.write(bytes(65_536))
                    file.flush()
            except OSError:
                os.truncate(file.fileno(), file.tell() // 4096 * 4096)
        at = time.time()
        full = host.launch("S01")
        host.wait_until(lambda: final_run(host, full))
        outcome.seconds["ended on the full disk"] = time.time() - at
        (home / "filler").unlink()
        check_builds(host, outcome, [full, host.launch("S02")])
    finally:
        host.environment.pop("TMPDIR") if before is None else host.environment.update(TMPDIR=before)
        host.stop_workers()
        subprocess.run(["umount", "--lazy", home], check=True)


def long_queue(host: Host, outcome: Outcome) -> None:
    """60 builds of four symbols are handed to one worker at once: Dagster's start timeout of a run is 180 s."""
    run_ids = [host.launch(f"S{number % 4 + 1:02}") for number in range(60)]
    at = time.time()
    host.start_worker("1", slots=2)
    check_builds(host, outcome, run_ids, 1_500)
    outcome.seconds["all published"] = time.time() - at
    waited = [(host.record(one).start_time or 0) - host.record(one).create_timestamp.timestamp() for one in run_ids]
    outcome.seconds["longest wait"] = max(waited)
    if set(outcome.ends) != {"published"}:
        outcome.problems.append("a build that waited was not published")


DRILLS: dict[str, Callable[[Host, Outcome], None]] = {
    "worker-killed": worker_killed,
    "run-killed": run_killed,
    "network-cut": network_cut,
    "machine-lost": machine_lost,
    "broker-16s": broker_silent(16),
    "redis-lost": redis_lost,
    "database-restarted": database_restarted,
    "connections-cut": connections_cut,
    "canceled": canceled,
    "old-worker": old_worker,
    "disk-full": disk_full,
    "long-queue": long_queue,
    "broker-600s": broker_silent(600),
}
