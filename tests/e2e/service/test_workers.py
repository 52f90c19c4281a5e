"""Runs on workers, with real RabbitMQ and PostgreSQL: published once, retried once, refused by other code, canceled."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from amqp.exceptions import AMQPError
from dagster import DagsterRunStatus as Status
from dagster_celery.launcher import LaunchRunContext
from kombu import Connection
from system import System, running_up
from waiting import TIMEOUT_SECONDS, wait_until
from worker_runs import Host, check, has_worker

from benchmarks.worker_network import RABBITMQ, start_rabbitmq
from pipelines.deployment import dagster_environment
from pipelines.orchestration.run_reaper import fail_untaken_runs, untaken_problems
from pipelines.resources import CODE_TAG, WORKER_TAG
from pipelines.service.workers.celery_app import HEARTBEAT_SECONDS
from pipelines.service.workers.identity import host_identity, publish_identity
from pipelines.service.workers.launcher import WorkerLauncher
from pipelines.service.workers.start_checks import Exit
from pipelines.service.workers.worker import REFUSED_EXIT_CODE
from pipelines.storage.models.generations import active_generation
from pipelines.storage.postgres.connection import Role

pytestmark = [pytest.mark.needs("RabbitMQ"), pytest.mark.slow]


@pytest.fixture(scope="module")
def broker_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a node of RabbitMQ of our own."""
    return tmp_path_factory.mktemp("rabbitmq") / "node"


@pytest.fixture(scope="module")
def broker(broker_home: Path) -> Iterator[str]:
    """The address of that node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    node = start_rabbitmq(broker_home, "127.0.0.1", port)
    try:
        wait_until(lambda: accepts(url), "RabbitMQ")
        yield url
    finally:
        node.terminate()
        node.wait(TIMEOUT_SECONDS)


def accepts(url: str) -> bool:
    """Whether a broker accepts connections."""
    try:
        with Connection(url, connect_timeout=2) as connection:
            connection.connect()
    except (OSError, AMQPError):
        return False
    return True


@pytest.fixture(scope="module")
def host(system: System, broker: str) -> Iterator[Host]:
    """A running system that hands builds to workers, with queues of its own."""
    variables = {
        **system.variables,
        "STRIKECAST_DATABASE_URL": system.database.url,
        "STRIKECAST_WORKERS": json.dumps({"broker_url": broker}),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, **dagster_environment(system.settings, system.database)}.items():
            patch.setenv(name, value)
        with running_up(system, system.home / "up.log", **variables) as state, dg.DagsterInstance.get() as instance:
            identity = host_identity(instance)
            assert identity is not None
            yield Host(system, variables, state["ui_url"], instance)


def published_by(host: Host) -> str | None:
    """The run that built BTC's published generation of the momentum model."""
    with host.system.database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT dagster_run_id FROM analytics.model_version WHERE generation = %s",
            [active_generation(connection, "BTC")],
        ).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


def test_a_lost_builds_retry_is_published_and_a_second_loss_is_final(host: Host) -> None:
    before = published_by(host)
    with host.worker("--slots", "1") as worker:
        worker.wait_until_ready()
        first = host.launch("build", "BTC")
        host.wait(first, Status.STARTED)
        host.process_of(first).send_signal(signal.SIGKILL)
        host.wait(first, Status.FAILURE)
        assert "was killed by SIGKILL" in host.messages(first)
        second = host.retry_of(first)
        assert has_worker(host.wait(second, Status.SUCCESS))
        assert published_by(host) == second != before

        third = host.launch("build", "BTC")
        host.wait(third, Status.STARTED)
        worker.process.send_signal(signal.SIGKILL)
        host.wait(third, Status.FAILURE)
        assert "no longer holds the run's lock" in host.messages(third)
        fourth = host.retry_of(third)
    with host.worker("--slots", "1", "--queue", "builds") as worker:
        worker.wait_until_ready()
        host.wait(fourth, Status.STARTED)
        host.process_of(fourth).send_signal(signal.SIGKILL)
        run = host.wait(fourth, Status.FAILURE)
        wait_until(lambda: host.run(fourth).tags.get("dagster/will_retry") == "false", "the decision")
        assert "dagster/auto_retry_run_id" not in run.tags
        assert published_by(host) == second
        assert worker.stop() == 0


def test_a_run_is_canceled_in_its_queue_and_while_it_is_executed(host: Host) -> None:
    before = published_by(host)
    with host.worker("--slots", "1") as worker:
        worker.wait_until_ready()
        executed = host.launch("build", "BTC")
        host.wait(executed, Status.STARTED)
        process = host.process_of(executed)
        process.suspend()  # so that the run cannot end before it is canceled
        waiting = host.launch("build", "BTC")
        host.wait(waiting, Status.STARTING)
        host.cancel(waiting)
        assert host.run(waiting).status is Status.CANCELED
        assert not has_worker(host.run(waiting))
        host.cancel(executed)
        process.resume()
        host.wait(executed, Status.CANCELED)
        assert published_by(host) == before
        assert worker.stop() == 0  # which has dropped the canceled run's message


def test_a_worker_that_stops_keeps_its_connection_until_its_run_has_ended(host: Host) -> None:
    with host.worker("--slots", "1") as worker:
        worker.wait_until_ready()
        executed = host.launch("build", "BTC")
        host.wait(executed, Status.STARTED)
        process = host.process_of(executed)
        process.suspend()
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(3.5 * HEARTBEAT_SECONDS)  # RabbitMQ closes a connection when it misses two
        waiting = host.launch("build", "BTC")
        host.wait(waiting, Status.STARTING)
        process.resume()
        host.wait(executed, Status.SUCCESS)
        assert worker.process.wait(TIMEOUT_SECONDS) == 0
        assert "Couldn't ack" not in worker.log.read_text()
        assert "Traceback" not in worker.log.read_text()
    assert not has_worker(host.run(waiting))
    host.cancel(waiting)


def test_other_code_refuses_a_run_and_a_worker_with_the_hosts_code_takes_it_once(host: Host, broker: str) -> None:
    run_id = host.launch("build", "BTC")
    host.wait(run_id, Status.STARTING)
    wait_until(lambda: "forwarded to the broker" in host.messages(run_id), "the message")
    code = host.run(run_id).tags[CODE_TAG]
    host.instance.add_run_tags(run_id, {CODE_TAG: "0" * 64})
    with host.worker("--slots", "1") as worker:
        assert worker.process.wait(TIMEOUT_SECONDS) == REFUSED_EXIT_CODE, worker.log.read_text()
        assert "Traceback" not in worker.log.read_text()
    assert "sent the run back to its queue: its code is" in host.messages(run_id)
    assert host.run(run_id).status is Status.STARTING
    host.instance.add_run_tags(run_id, {CODE_TAG: code})
    for url in ("amqp://127.0.0.1:9//", broker.replace("guest:guest", "guest:wrong")):
        launcher(host, broker_url=url).launch_run(LaunchRunContext(host.run(run_id), None))
    assert "the broker cannot be reached: [Errno 111]" in host.messages(run_id)
    assert "ACCESS_REFUSED" in host.messages(run_id)
    [problem] = untaken_problems(host.instance, datetime.now(UTC) + timedelta(minutes=10))
    assert "the broker does not accept its message" in problem.message
    launcher(host).send_unsent()  # a second message of this run
    with host.worker("--slots", "1") as worker:
        worker.wait_until_ready()
        host.wait(run_id, Status.STARTED, Status.SUCCESS)
        host.wait(run_id, Status.SUCCESS)
        assert published_by(host) == run_id
        assert worker.stop() == 0


def launcher(host: Host, **changes: str) -> WorkerLauncher:
    """The host's launcher, in this process."""
    workers = {**json.loads(host.variables["STRIKECAST_WORKERS"]), **changes}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIKECAST_HOME", str(host.system.home))
        patch.setenv("STRIKECAST_DATABASE_URL", host.variables["STRIKECAST_DATABASE_URL"])
        patch.setenv("STRIKECAST_WORKERS", json.dumps(workers))
        it = WorkerLauncher()
    it.register_instance(host.instance)
    return it


def test_a_run_that_no_worker_takes_fails_without_a_retry(host: Host) -> None:
    run_id = host.launch("build", "BTC")
    host.wait(run_id, Status.STARTING)
    wait_until(lambda: WORKER_TAG in host.run(run_id).tags, "the launch")
    now = datetime.now(UTC)
    assert untaken_problems(host.instance, now + timedelta(minutes=2)) == []
    [problem] = untaken_problems(host.instance, now + timedelta(minutes=10))
    assert problem.message.startswith("a run of the queue builds has waited for 10")
    assert problem.message.endswith("no worker takes runs of this queue")
    assert run_id not in fail_untaken_runs(host.instance, now, 3_600)
    assert run_id in fail_untaken_runs(host.instance, now + timedelta(hours=2), 3_600)
    assert "no worker took this run from the queue builds" in host.messages(run_id)
    wait_until(lambda: host.run(run_id).tags.get("dagster/will_retry") == "false", "the decision")


def test_a_worker_that_differs_from_its_host_does_not_start(host: Host, tmp_path: Path) -> None:
    same = check(host)
    assert same.returncode == 0, same.stderr
    model = check(host, STRIKECAST_MODEL=json.dumps({"bucket_limit": 20}))
    assert (model.returncode, "settings differ from the host's: model" in model.stderr) == (Exit.SETTINGS, True)
    on_host = check(host, STRIKECAST_HOME=str(host.system.home))
    assert (on_host.returncode, "is the home folder of a host" in on_host.stderr) == (Exit.HOME, True)
    files = check(host, STRIKECAST_SHARED_FILES=json.dumps({"url": str(tmp_path / "unmounted")}))
    assert (files.returncode, "the shared place of shared_files.url cannot be used" in files.stderr) == (
        Exit.SHARED_FILES,
        True,
    )
    database = check(host, STRIKECAST_DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing")
    assert (database.returncode, "Retrying" in database.stderr) == (Exit.DATABASE, False)


def test_a_broker_that_cannot_be_used_is_found(host: Host, broker: str, broker_home: Path) -> None:
    node = f"drill{broker.rstrip('/').rpartition(':')[2]}@localhost"
    for arguments in (("add_user", "limited", "secret"), ("set_permissions", "limited", "^x$", "^x$", "^x$")):
        command = [RABBITMQ / "rabbitmqctl", "--node", node, *arguments]
        subprocess.run(command, env={**os.environ, "HOME": str(broker_home)}, check=True)
    limited = broker.replace("guest:guest", "limited:secret")
    for url, reason in (("amqp://guest:guest@127.0.0.1:9//", "Errno 111"), (limited, "ACCESS_REFUSED")):
        found = check(host, STRIKECAST_WORKERS=json.dumps({"broker_url": url}))
        assert (found.returncode, reason in found.stderr) == (Exit.BROKER, True), found.stderr


def test_a_worker_stops_when_its_host_has_other_code(host: Host) -> None:
    identity = host_identity(host.instance)
    assert identity is not None
    with host.worker("--slots", "1") as worker:
        worker.wait_until_ready()
        publish_identity(host.instance, replace(identity, code="0" * 64))
        try:
            assert worker.process.wait(TIMEOUT_SECONDS) == REFUSED_EXIT_CODE
        finally:
            publish_identity(host.instance, identity)
        assert "the code differs from the host's" in worker.log.read_text()
