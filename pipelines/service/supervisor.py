"""Dagster's code server, web server and daemon as children of one process, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

import dagster as dg
import psutil
from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.errors import AlreadyRunningError, ServerUnavailableError, SettingsError
from pipelines.log import Log
from pipelines.orchestration.run_reaper import IN_PROGRESS
from pipelines.processes.pid_file import process_tree, read_pid_file, remove_pid_file, write_pid_file
from pipelines.resources import run_of_title
from pipelines.settings import Settings

LOCATION = "strikecast"
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 15
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Running:
    """A system that is up: the address of its Dagster UI."""

    ui_url: str
    children: tuple[psutil.Popen, ...]
    #: Called again and again by `watch`: what else must not stay down.
    look_after: Callable[[], None] = lambda: None

    def dead_child(self) -> str | None:
        """Name of a child that has ended, None while all live."""
        for child in self.children:
            if child.poll() is not None:
                return f"{_name(child)} ended with exit code {child.returncode}"
        return None

    def watch(self, seconds: float | None = None) -> None:
        """Wait until the time is up; raises ServerUnavailableError as soon as a child has ended."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            self.look_after()
            dead = self.dead_child()
            if dead is not None:
                raise ServerUnavailableError(f"{dead}; see its log in the data folder's logs/")
            time.sleep(WATCH_SECONDS)


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Be the only `up` of this data folder. Raises AlreadyRunningError that names the other."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        state = read_pid_file(settings)
        where = f" at {state['ui_url']} (process {state['pid']})" if state else ""
        raise AlreadyRunningError(f"strikecast is already up{where}; data folder {settings.home}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def dagster_processes(
    settings: Settings, log: Log = lambda _: None, look_after: Callable[[], None] = lambda: None
) -> Iterator[Running]:
    """Dagster's code server, web server and daemon, ready for use; all ended on leaving, runs cancelled first.

    DAGSTER_HOME and the rest of `runtime.environment` must be set. Raises SettingsError when the port is taken,
    ServerUnavailableError when a process does not come up.
    """
    _end_leftovers(settings, log)
    port = _free_port(settings)
    url = f"http://{settings.ui_host}:{port}"
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    # Not in the data folder: the path of a Unix socket is limited to about 100 bytes.
    scratch = Path(tempfile.mkdtemp(prefix="strikecast-"))
    code_socket = scratch / "code.sock"
    children: list[psutil.Popen] = []
    program = [sys.executable, "-m"]
    workspace = scratch / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      socket: {code_socket}\n      location_name: {LOCATION}\n",
        encoding="utf-8",
    )
    outputs, writer = _start_log_writer(logs, ("code_server", "webserver", "daemon"), scratch)
    try:
        log("starting the code server")
        code = [
            "dagster",
            "api",
            "grpc",
            "--socket",
            str(code_socket),
            "-m",
            "pipelines.definitions",
            "--location-name",
            LOCATION,
        ]
        children.append(_spawn([*program, *code], outputs["code_server"], scratch))
        _wait(lambda: _accepts(code_socket), children, "the code server")
        log("starting the web server and the daemon")
        web = ["dagster_webserver", "-h", settings.ui_host, "-p", str(port), "-w", str(workspace)]
        children.append(_spawn([*program, *web], outputs["webserver"], scratch))
        daemon = ["dagster._daemon", "run", "-w", str(workspace)]
        children.append(_spawn([*program, *daemon], outputs["daemon"], scratch))
        write_pid_file(settings, url, children)
        _wait(lambda: _answers(f"{url}/server_info"), children, "the web server")
        yield Running(url, (*children, writer), look_after)
    finally:
        with _undisturbed():
            _stop(children, log)
            _end([writer], signal.SIGCONT)  # it ends by itself, when nobody is left to write
        remove_pid_file(settings)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hear no second Ctrl-C or SIGTERM: what it would cut short is the end of processes that nobody else ends."""
    before = {ending: signal.signal(ending, signal.SIG_IGN) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def _start_log_writer(logs: Path, names: Sequence[str], folder: Path) -> tuple[dict[str, int], psutil.Popen]:
    """The process that writes the others' output into files that can be rotated, and the pipes to it by name."""
    pipes = {name: os.pipe() for name in names}
    arguments = [f"{name}={reading}" for name, (reading, _) in pipes.items()]
    writer = psutil.Popen(
        [sys.executable, "-m", "pipelines.maintenance.log_writer", str(logs), *arguments],
        stdin=subprocess.DEVNULL,
        cwd=folder,
        pass_fds=[reading for reading, _ in pipes.values()],
        start_new_session=True,
    )
    for reading, _ in pipes.values():
        os.close(reading)
    return {name: writing for name, (_, writing) in pipes.items()}, writer


def _spawn(command: Sequence[str], output: int, folder: Path) -> psutil.Popen:
    """Start a process that writes to a pipe, and leave the pipe to it."""
    try:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
        return psutil.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
        )
    finally:
        os.close(output)


def _stop(children: Sequence[psutil.Popen], log: Log) -> None:
    """Daemon first, so that nothing new starts; then the runs; then the servers they need."""
    if not children:
        return
    log("stopping")
    code_server, others = children[0], children[1:]
    for child in reversed(others[1:]):
        _end([child], signal.SIGTERM)
    with suppress(psutil.NoSuchProcess):
        workers = [process for process in code_server.children(recursive=True) if _is_run_worker(process)]
        _cancel_runs()
        _end(workers, signal.SIGINT)
    _end([*others[:1], code_server], signal.SIGTERM)


def _is_run_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "resource_tracker" not in " ".join(process.cmdline())
    return False


def _cancel_runs() -> None:
    """Say that the runs in progress are being cancelled, so that they end as cancelled rather than failed."""
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
            if run.status is dg.DagsterRunStatus.QUEUED:
                instance.report_run_canceled(run)
            elif run.status is not dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceling(run)


def _end(processes: Sequence[psutil.Process], sign: signal.Signals) -> None:
    families = [member for process in processes for member in process_tree(process)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(sign)
    _, alive = psutil.wait_procs(families, timeout=STOP_TIMEOUT_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT_SECONDS)


def _end_leftovers(settings: Settings, log: Log) -> None:
    """End what an `up` that was killed left running; called with its lock held, so its parent is gone."""
    state = read_pid_file(settings)
    for pid, created in (state or {}).get("children", []):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1.0:
                log(f"ending process {pid}, left over from a strikecast that was killed")
                _end([process], signal.SIGTERM)
    _end_orphaned_runs(log)


def _end_orphaned_runs(log: Log) -> None:
    """End runs of this instance whose code server is gone already: they are nobody's children, and go on for ever."""
    with dg.DagsterInstance.get() as instance:
        ours = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))}
    orphans = [
        process
        for process in psutil.process_iter(["cmdline"])
        if run_of_title(" ".join(process.info["cmdline"] or ())) in ours
    ]
    if orphans:
        log(f"ending {len(orphans)} runs, left over from a strikecast that was killed")
        _end(orphans, signal.SIGINT)


def ui_url(settings: Settings) -> str | None:
    """Address of the UI that is up, None when none is."""
    state = read_pid_file(settings)
    pid = (state or {}).get("pid")
    return str(state["ui_url"]) if state and isinstance(pid, int) and psutil.pid_exists(pid) else None


def _free_port(settings: Settings) -> int:
    with socket() as probe:
        # As the web server does: or a restart fails for a minute on connections that the last one closed.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((settings.ui_host, settings.ui_port))
        except OSError as error:
            raise SettingsError(
                f"the UI cannot use {settings.ui_host}:{settings.ui_port}: {error.strerror}; choose another port with "
                "--port or STRIKECAST_UI_PORT (0: any free one)"
            ) from error
        return int(probe.getsockname()[1])


def _wait(ready: Callable[[], bool], children: Sequence[psutil.Popen], what: str) -> None:
    def state() -> str | None:
        ended = next((child for child in children if child.poll() is not None), None)
        return (
            "ready" if ready() else None if ended is None else f"{_name(ended)} ended with exit code {ended.returncode}"
        )

    waiting = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(START_TIMEOUT_SECONDS),
        retry_error_callback=lambda _: f"{what} did not answer within {START_TIMEOUT_SECONDS} s",
    )
    outcome = waiting(state)
    if outcome != "ready":
        raise ServerUnavailableError(f"{outcome}; see its log in the data folder's logs/")


def _accepts(path: Path) -> bool:
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (our own http address)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _name(process: psutil.Popen) -> str:
    command = " ".join(process.args if isinstance(process.args, list) else [str(process.args)])
    names = {"webserver": "web server", "_daemon": "daemon", "log_writer": "log writer"}
    return next((name for part, name in names.items() if part in command), "code server")
