"""Network namespaces of a host and two workers, and the services of the host: PostgreSQL, RabbitMQ and Redis.

All are separate from those of the machine: each has its address on a bridge that only the namespaces see.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, wait_for

HOST_ADDRESS = "10.77.0.1"
#: Prefix of the namespaces' names, set in the processes within the host's.
VARIABLE = "DRILL_NAMESPACES"
WORKERS = ("1", "2")
RABBITMQ = Path("/usr/lib/rabbitmq/bin")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def run_in_namespaces(module: str, arguments: Sequence[str]) -> int:
    """Run a module within the host's namespace, with those of two workers beside it; returns its exit code."""
    prefix = f"drill{os.getpid()}"
    names = [f"{prefix}-host", *(f"{prefix}-{worker}" for worker in WORKERS)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or a timeout would leave everything running
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        host = names[0]
        _ip("-n", host, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", host, "address", "add", f"{HOST_ADDRESS}/24", "dev", "bridge0")
        _ip("-n", host, "link", "set", "bridge0", "up")
        for worker in WORKERS:
            inside, link = f"{prefix}-{worker}", f"worker{worker}"
            _ip("-n", host, "link", "add", link, "type", "veth", "peer", "name", "host0", "netns", inside)
            _ip("-n", host, "link", "set", link, "master", "bridge0", "up")
            _ip("-n", inside, "address", "add", f"10.77.0.1{worker}/24", "dev", "host0")
            _ip("-n", inside, "link", "set", "host0", "up")
        command = ["ip", "netns", "exec", host, sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env={**os.environ, VARIABLE: prefix}, check=False).returncode
    finally:
        for name in names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], check=False)


def in_worker(worker: str, command: Sequence[str]) -> list[str]:
    """A command that runs in a worker's namespace."""
    return ["ip", "netns", "exec", f"{os.environ[VARIABLE]}-{worker}", *command]


def connect_worker(worker: str, *, up: bool) -> None:
    """Cut a worker's network, or restore it: packets are lost silently, in both directions."""
    _ip("link", "set", f"worker{worker}", "up" if up else "down")


def has_address(port: int) -> bool:
    """Whether a service of the host listens."""
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return bool(listening.stdout.strip())


@dataclass
class Services:
    """PostgreSQL, RabbitMQ and Redis of the host, with all files in `folder`."""

    folder: Path
    server: EmbeddedServer
    rabbitmq: subprocess.Popen[bytes]
    redis: subprocess.Popen[bytes]

    @property
    def database(self) -> Database:
        """The database, by the address that workers use as well."""
        return Database(f"postgresql://postgres@{HOST_ADDRESS}:5432/strikecast")

    @property
    def broker_pid(self) -> int:
        """Process id of RabbitMQ, which the script that we started has become or started."""
        found = subprocess.run(
            ["pgrep", "--ns", str(os.getpid()), "--nslist", "net", "-x", "beam.smp"],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(found.stdout.split()[0])

    def signal_broker(self, number: signal.Signals) -> None:
        """Stop the broker (SIGSTOP), so that it is silent while its connections stay, or continue it (SIGCONT)."""
        os.kill(self.broker_pid, number)

    def restart_server(self, seconds: float) -> None:
        """Kill the database server, and start it again after so many seconds."""
        self.server.kill()
        time.sleep(seconds)
        self.server.restart_if_stopped()

    def cut_connections(self, beside: str = "") -> None:
        """Terminate all other connections, or those from other addresses than one."""
        with self.database.connect("drill", None) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND backend_type = 'client backend' AND host(client_addr) IS DISTINCT FROM %s",
                [beside],
            )


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Run the services; all are killed by the end of the namespace. Raises TimeoutError."""
    server = EmbeddedServer(folder / "postgres")
    with server.running() as url:
        with Database(Database(url).url_for("postgres")).connect("drill", None, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET listen_addresses = '{HOST_ADDRESS}'")
        with (server.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.77.0.0/24 trust\n")
        server.stop()
        server.restart_if_stopped()
        rabbitmq, redis = start_rabbitmq(folder / "rabbitmq", HOST_ADDRESS, 5672), start_redis(folder)
        for port in (5432, 5672, 6379):
            if not wait_for(lambda port=port: has_address(port), 120):  # type: ignore[misc]
                raise TimeoutError(f"nothing listens at {HOST_ADDRESS}:{port}; the logs are in {folder}")
        yield Services(folder, server, rabbitmq, redis)


def start_redis(folder: Path) -> subprocess.Popen[bytes]:
    """Start Redis."""
    command = ["redis-server", "--bind", HOST_ADDRESS, "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def start_rabbitmq(home: Path, address: str, port: int) -> subprocess.Popen[bytes]:
    """Start a node of RabbitMQ of its own, whose files are in `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        distribution = probe.getsockname()[1]  # by default the port and 20,000, which may be none
    home.mkdir()
    (home / "rabbitmq.conf").write_text("loopback_users.guest = false\n")
    (home / "enabled_plugins").write_text("[].\n")
    variables = {
        "HOME": home,
        "RABBITMQ_NODENAME": f"drill{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": address,
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": distribution,
        "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": home / "none",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": home / "logs",
        "RABBITMQ_PID_FILE": home / "pid",
    }
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    with (home / "output.log").open("w") as output:
        return subprocess.Popen([RABBITMQ / "rabbitmq-server"], env=environment, cwd=home, stdout=output, stderr=output)
