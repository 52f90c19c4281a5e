"""Run Dagster's code server, web server and daemon as child processes, and stop them with the runs they started."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from tempfile import TemporaryDirectory
from types import FrameType
from typing import IO, Any

import dagster as dg
import psutil
from filelock import FileLock, Timeout

from pipelines.deployment import configured_database, restart_server_if_stopped
from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.errors import AlreadyRunningError, DatabaseError, ServerUnavailableError, SettingsError, StrikecastError
from pipelines.log import Log
from pipelines.monitoring.alert_delivery import (
    MAX_UNWATCHED,
    SERVER_PROBLEM,
    WATCHDOG_PROBLEM,
    read_watch,
    update_alerts,
)
from pipelines.orchestration.run_reaper import IN_PROGRESS
from pipelines.processes.pid_file import process_tree, read_pid_file, remove_pid_file, write_pid_file
from pipelines.resources import run_of_title
from pipelines.settings import Settings

LOCATION = "strikecast"
#: Names of the child processes; the output of each is in logs/NAME.log.
CODE_SERVER, WEB_SERVER, DAEMON, LOG_WRITER = "code_server", "webserver", "daemon", "log_writer"
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 15
POLL_SECONDS = 0.5
SERVER_CHECK_SECONDS = 30.0


@dataclass
class DagsterProcesses:
    """Dagster's processes by name, and the address of its UI."""

    settings: Settings
    log: Log
    ui_url: str
    children: dict[str, psutil.Popen] = field(default_factory=dict)
    _server_checked_at: float = -SERVER_CHECK_SECONDS
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def supervise(self, seconds: float | None = None) -> None:
        """Restart the embedded server when it dies, and alert when no server answers; for ever without `seconds`.

        Raises ServerUnavailableError when a child has ended.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            restart_server_if_stopped(self.settings, self.log)
            if time.monotonic() - self._server_checked_at >= SERVER_CHECK_SECONDS:
                self._server_checked_at = time.monotonic()
                _check_server(self.settings, self.log, self._started_at)
            self._require_children()
            time.sleep(POLL_SECONDS)

    def wait_until(self, is_ready: Callable[[], bool], name: str) -> None:
        """Wait until the child `name` is ready. Raises ServerUnavailableError on timeout, or when a child has ended."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_ready():
            self._require_children()
            if time.monotonic() > deadline:
                raise ServerUnavailableError(
                    f"{name} is not ready after {START_TIMEOUT_SECONDS} s; see the logs in {self.settings.home}/logs"
                )
            time.sleep(0.1)

    def _require_children(self) -> None:
        for name, child in self.children.items():
            if child.poll() is not None:
                raise ServerUnavailableError(
                    f"{name} ended with exit code {child.returncode}; see the logs in {self.settings.home}/logs"
                )


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the lock of the home folder's only `up` or `demo`. Raises AlreadyRunningError when another holds it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(settings.home / "up.lock").acquire(timeout=0)
    except Timeout:
        state = read_pid_file(settings)
        where = f" at {state['ui_url']} (process {state['pid']})" if state else ""
        raise AlreadyRunningError(f"strikecast is already up{where}; home folder {settings.home}") from None
    with lock:
        yield


@contextmanager
def dagster_processes(settings: Settings, log: Log = lambda _: None) -> Iterator[DagsterProcesses]:
    """Run Dagster's code server, web server and daemon; on exit, cancel the runs in progress and stop everything.

    Call within `exclusive` and `prepared_instance`. Raises SettingsError when the UI's port is taken, and
    ServerUnavailableError when a process does not start.
    """
    _stop_leftovers(settings, log)
    port = _free_port(settings)
    running = DagsterProcesses(settings, log, f"http://{settings.ui_host}:{port}")
    # Not in the home folder: the path of a Unix socket is limited to about 100 bytes.
    with TemporaryDirectory(prefix="strikecast-", ignore_cleanup_errors=True) as folder:
        code_socket, workspace = Path(folder) / "code.sock", Path(folder) / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server:\n      socket: {code_socket}\n      location_name: {LOCATION}\n",
            encoding="utf-8",
        )
        pipes = _start_log_writer(running, folder)

        def start(name: str, *module: str | Path) -> None:
            with pipes[name] as output:
                running.children[name] = _spawn(folder, *module, stdout=output, stderr=output)

        try:
            log("starting the code server")
            code = ["-m", "pipelines.definitions", "--location-name", LOCATION]
            start(CODE_SERVER, "dagster", "api", "grpc", "--socket", code_socket, *code)
            running.wait_until(code_socket.exists, CODE_SERVER)
            log("starting the web server and the daemon")
            start(WEB_SERVER, "dagster_webserver", "-h", settings.ui_host, "-p", str(port), "-w", workspace)
            start(DAEMON, "dagster._daemon", "run", "-w", workspace)
            write_pid_file(settings, running.ui_url, (running.children[name] for name in pipes))
            running.wait_until(lambda: _answers(f"{running.ui_url}/server_info"), WEB_SERVER)
            yield running
        finally:
            for pipe in pipes.values():
                pipe.close()
            with _ignored_signals():
                log("stopping")
                _stop_children(running.children)
                remove_pid_file(settings)


def run_dagster_command(arguments: Sequence[str]) -> int:
    """Run one of Dagster's own commands, forward SIGINT and SIGTERM to its process group, and return its exit code.

    Call within `prepared_instance`.
    """
    # A session of its own, or the command would get Ctrl-C twice: from the terminal and from here.
    command = subprocess.Popen([sys.executable, "-m", "dagster", *arguments], start_new_session=True)

    def forward(number: int, _frame: FrameType | None = None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    code = command.wait()
    forward(signal.SIGTERM)  # `dagster dev` can leave its code server behind
    return code if code >= 0 else 128 - code


def _start_log_writer(running: DagsterProcesses, folder: str) -> dict[str, IO[bytes]]:
    """Start the process that writes the others' output to log files that can be rotated; return their pipes to it."""
    logs = running.settings.home / "logs"
    logs.mkdir(exist_ok=True)
    pipes = {name: os.pipe() for name in (CODE_SERVER, WEB_SERVER, DAEMON)}
    readers = {name: reading for name, (reading, _) in pipes.items()}
    arguments = [f"{name}={reading}" for name, reading in readers.items()]
    running.children[LOG_WRITER] = _spawn(
        folder, "pipelines.maintenance.log_writer", logs, *arguments, pass_fds=list(readers.values())
    )
    for reading in readers.values():
        os.close(reading)
    return {name: os.fdopen(writing, "wb") for name, (_, writing) in pipes.items()}


def _spawn(folder: str, *module: str | Path, **options: Any) -> psutil.Popen:
    """Start `python -m MODULE...` in a session of its own: Ctrl-C reaches this process only, which stops the others."""
    command = [sys.executable, "-m", *map(str, module)]
    return psutil.Popen(command, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True, **options)


@contextmanager
def _ignored_signals() -> Iterator[None]:
    """Ignore further signals during shutdown, so that every process is stopped."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_children(children: dict[str, psutil.Popen]) -> None:
    """Stop the daemon first, so that no run starts; then the runs, and then the servers that runs need."""
    if DAEMON in children:
        _stop([children[DAEMON]], signal.SIGTERM)
    if CODE_SERVER in children:
        run_workers = [process for process in process_tree(children[CODE_SERVER])[1:] if _is_run_worker(process)]
        _cancel_runs()
        _stop(run_workers, signal.SIGINT)
    _stop([children[name] for name in (WEB_SERVER, CODE_SERVER) if name in children], signal.SIGTERM)
    _stop([children[LOG_WRITER]])  # it ends by itself when all pipes are closed


def _is_run_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "resource_tracker" not in " ".join(process.cmdline())
    return False


def _cancel_runs() -> None:
    """Report the runs in progress as being canceled, so that they end as canceled rather than failed."""
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
            if run.status is dg.DagsterRunStatus.QUEUED:
                instance.report_run_canceled(run)
            elif run.status is not dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceling(run)


def _stop(processes: Sequence[psutil.Process], number: signal.Signals | None = None) -> None:
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


def _stop_leftovers(settings: Settings, log: Log) -> None:
    """Stop the children and runs of an `up` that was killed; its lock is held, so it has ended."""
    leftovers = []
    for pid, created_at in (read_pid_file(settings) or {}).get("children", []):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - created_at) < 1.0:
                leftovers.append(process)
    if leftovers:
        log(f"ending {len(leftovers)} processes left by a killed strikecast")
        _stop(leftovers, signal.SIGTERM)
    with dg.DagsterInstance.get() as instance:
        in_progress = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))}
    # Runs whose code server was killed have no parent that could stop them.
    orphans = [
        process
        for process in psutil.process_iter(["cmdline"])
        if run_of_title(" ".join(process.info["cmdline"] or ())) in in_progress
    ]
    if orphans:
        log(f"ending {len(orphans)} runs left by a killed strikecast")
        _stop(orphans, signal.SIGINT)


def _free_port(settings: Settings) -> int:
    """The UI's port, or a free one for port 0. Raises SettingsError when it is taken."""
    with socket() as probe:
        # As the web server does; otherwise connections of the previous one block the port for a minute.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((settings.ui_host, settings.ui_port))
        except OSError as error:
            raise SettingsError(
                f"the UI cannot use {settings.ui_host}:{settings.ui_port}: {error.strerror}; choose another port with "
                "--port or STRIKECAST_UI_PORT (0: any free one)"
            ) from error
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (our own http address)
        return bool(response.status == 200)
    return False


def _check_server(settings: Settings, log: Log, started_at: datetime) -> None:
    """Report whether the server answers and the watchdog evaluates problems; the watchdog itself cannot."""
    problems, now = [], datetime.now(UTC)
    unwatched = read_watch(settings).missing(now)
    if unwatched is not None and now - started_at > MAX_UNWATCHED:
        problems.append(Problem(WATCHDOG_PROBLEM, unwatched, RunbookHeading.WATCHDOG))
    try:
        with configured_database(settings).connect("up", None):
            pass
    except DatabaseError as error:
        problems.append(Problem(SERVER_PROBLEM, str(error), RunbookHeading.SERVER))
    try:
        update_alerts(settings, problems, now, log, server=True)
    except StrikecastError as error:
        log(str(error))
