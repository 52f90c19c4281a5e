"""Run Dagster's processes, the page, the log writer and the simulated exchange as child processes.

They and the database are kept running.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from threading import Event
from types import FrameType
from uuid import uuid4

import psutil
from filelock import FileLock, Timeout

from pipelines.deployment import configured_database, dagster_database
from pipelines.domain.monitoring.alerts import AlertSeverity, Problem, RunbookHeading
from pipelines.errors import AlreadyRunningError, DatabaseError, StrikecastError, single_line
from pipelines.log import Log
from pipelines.markets.address import API_PATH
from pipelines.markets.simulation.configured import configured_series
from pipelines.monitoring.alert_delivery import (
    DISK_PROBLEM,
    MAX_UNWATCHED,
    OFF_PROBLEM,
    SERVER_PROBLEM,
    TICKS_PROBLEM,
    WATCHDOG_PROBLEM,
    read_watch,
    update_alerts,
)
from pipelines.monitoring.alert_sending import delivering
from pipelines.monitoring.surroundings import disk_problems, server_directory
from pipelines.monitoring.ticking import switched_off, switched_off_problems, tick_problems, ticking
from pipelines.processes.pid_file import process_tree, read_pid_file, remove_pid_file, write_pid_file
from pipelines.processes.run_titles import LOCATION
from pipelines.protection.private_files import make_private, tighten
from pipelines.service.addresses import Address, Addresses, choose_addresses
from pipelines.service.children import Child, Children
from pipelines.service.database_keeper import DatabaseKeeper
from pipelines.service.health_checks import DaemonActivity, code_server_responds, http_responds
from pipelines.service.leftovers import cancel_runs, run_workers, stop, stop_leftovers
from pipelines.service.output_pipes import OutputPipes
from pipelines.service.spawning import spawn
from pipelines.service.threads import repeat
from pipelines.service.tick_reader import TickReader
from pipelines.service.watchdog_alerts import WatchdogAlerts
from pipelines.service.workers.unsent import sending_unsent
from pipelines.settings import CurrentSettings, Settings
from pipelines.storage.monitoring import supervisors
from pipelines.storage.monitoring.dagster_state import TickState
from pipelines.storage.monitoring.supervisors import Supervisor
from pipelines.storage.postgres.connection import DriverError, full_message

#: Names of the child processes; the output of each is in logs/NAME.log.
CODE_SERVER, WEB_SERVER, DAEMON, PAGE, LOG_WRITER = "code_server", "webserver", "daemon", "page", "log_writer"
SIMULATED_EXCHANGE, ANALYSTS = "simulated_exchange", "analysts_webserver"
DAGSTER_PROCESS = "pipelines.service.dagster_process"
POLL_SECONDS = 0.5
#: Problems are evaluated this often, and when a child was replaced.
REPORT_SECONDS = 30.0


@dataclass
class System:
    """The running system: its child processes, and their addresses."""

    settings: Settings
    log: Log
    addresses: Addresses
    children: Children
    keeper: DatabaseKeeper
    _changed: Event = field(default_factory=Event)

    def supervise(self, seconds: float | None = None) -> None:
        """Replace children that ended or hang; for ever without `seconds`.

        Raises AlreadyRunningError when another `strikecast up` has taken over.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            if self.keeper.superseded is not None:
                raise self.keeper.superseded
            if self.children.check():
                self.wake()
            time.sleep(POLL_SECONDS)

    @contextmanager
    def reporting_problems(self, read_ticks: TickReader) -> Iterator[None]:
        """Within the context, evaluate the problems that the watchdog cannot see, on a thread of its own."""
        ended, started_at, current = Event(), datetime.now(UTC), CurrentSettings(self.settings, self.log)
        others = WatchdogAlerts(self.settings, self.log)

        def update() -> None:
            found = [*self.children.problems(), *self.keeper.replacements.problems()]
            settings = self.settings.model_copy(update={"alerts": current().alerts})
            _update_problems(settings, found, self.log, started_at, read_ticks)
            others.report(datetime.now(UTC))

        def ends() -> bool:
            self._changed.wait(REPORT_SECONDS)
            self._changed.clear()
            return ended.is_set()

        self.wake()
        repeat("evaluation of problems", update, ends, self.log)
        try:
            yield
        finally:
            ended.set()
            self.wake()

    def wake(self) -> None:
        """Evaluate the problems at once."""
        self._changed.set()


@contextmanager
def exclusive(settings: Settings, log: Log = lambda _: None) -> Iterator[None]:
    """Hold the lock of the home folder\'s only `up` or `demo`, whose files become private.

    Raises AlreadyRunningError when another holds it.
    """
    make_private(settings.home)
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(settings.home / "up.lock", mode=0o600).acquire(timeout=0)
    except Timeout:
        state = read_pid_file(settings)
        where = f" at {state['ui_url']} (process {state['pid']})" if state else ""
        raise AlreadyRunningError(f"strikecast is already up{where}; home folder {settings.home}") from None
    with lock:
        if changed := tighten(settings.home, settings.output_dir):
            log(f"other users lose their rights to files in {settings.home}: {', '.join(changed)}")
        yield


@contextmanager
def running_system(settings: Settings, log: Log = lambda _: None) -> Iterator[System]:
    """Run all child processes; on exit, cancel the runs in progress and stop everything.

    Call within `exclusive` and `prepared_instance`. Raises SettingsError when a port is taken or the simulated exchange
    has no series, AlreadyRunningError when another `strikecast up` runs on the database, and ServerUnavailableError
    when a process does not start.
    """
    addresses = choose_addresses(settings)
    ui_url, page_url = addresses.ui.url, addresses.page.url
    if addresses.exchange is not None:
        configured_series(settings)
    supervisor = Supervisor(str(uuid4()), gethostname(), str(settings.home), ui_url)
    earlier = read_pid_file(settings)
    supervisors.claim(configured_database(settings), supervisor, [] if earlier is None else [earlier["token"]])
    keeper = DatabaseKeeper(settings, supervisor, log)
    with ExitStack() as stack:
        stack.enter_context(delivering(settings, log))
        stack.enter_context(keeper.running())
        stop_leftovers(settings, log)
        # Not in the home folder: the path of a Unix socket is limited to about 100 bytes.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="strikecast-", ignore_cleanup_errors=True)))

        def record_children() -> None:
            try:
                write_pid_file(settings, supervisor.token, ui_url, page_url, children.running().values())
            except OSError as error:  # a full disk must not end the supervision
                log(f"the process ids cannot be recorded: {error}")

        children = Children(log, settings.home / "logs", record_children)
        system = System(settings, log, addresses, children, keeper)
        keeper.on_replacement = system.wake
        stack.callback(remove_pid_file, settings)
        stack.callback(_stop_children, system)
        names = (CODE_SERVER, WEB_SERVER, DAEMON, PAGE, SIMULATED_EXCHANGE, ANALYSTS)
        pipes = OutputPipes(names, settings.home / "logs", folder)
        stack.callback(pipes.close)
        read_ticks = TickReader(dagster_database(settings, configured_database(settings)))
        _start_children(system, read_ticks, folder, pipes)
        stack.enter_context(system.reporting_problems(read_ticks))
        stack.enter_context(sending_unsent(settings, log))
        yield system


def _start_children(system: System, read_ticks: TickReader, folder: Path, pipes: OutputPipes) -> None:
    """Start all children, and wait until those that serve respond. `folder` gets the code server's socket."""
    children = system.children
    code_socket, workspace = folder / "code.sock", folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      socket: {code_socket}\n      location_name: {LOCATION}\n",
        encoding="utf-8",
    )

    def child(name: str, is_responding: Callable[[], bool | None], *module: str | Path) -> Child:
        output = pipes.writing_end(name)
        return Child(name, lambda: spawn(folder, *module, stdout=output, stderr=output), is_responding)

    def start_code_server() -> psutil.Popen:
        code_socket.unlink(missing_ok=True)  # of a killed one
        # Unlike `dagster api grpc`, it loads the code again when the UI reloads definitions.
        command = ("code-server", "start", "--socket", code_socket, "-m", "pipelines.definitions")
        output = pipes.writing_end(CODE_SERVER)
        options = ("--location-name", LOCATION)
        return spawn(folder, DAGSTER_PROCESS, "dagster", *command, *options, stdout=output, stderr=output)

    code_server = Child(CODE_SERVER, start_code_server, partial(code_server_responds, code_socket))
    activity = DaemonActivity(read_ticks)

    def daemon_responds() -> bool | None:
        """Without the database or the code server the daemon can record nothing; Dagster asks again for seconds."""
        try:
            continues = activity.continues()
        except (DatabaseError, DriverError):
            return None
        is_to_blame = system.keeper.responds() and code_server.responds()
        return continues if continues or is_to_blame else None

    children.start(Child(LOG_WRITER, pipes.start_writer, pipes.writer_responds))
    system.log("starting the code server")
    children.start(code_server)
    system.log("starting Dagster's web server and daemon, and the page")
    ui, pages, exchange = system.addresses.ui, system.addresses.page, system.addresses.exchange

    def web_server(name: str, at: Address, *options: str) -> Child:
        arguments = ("-h", at.host, "-p", str(at.port), "-w", str(workspace), *options)
        return child(name, partial(http_responds, f"{at.url}/server_info"), "pipelines.web.dagster_ui", *arguments)

    page = ("pipelines.cli", "serve", "--host", pages.host, "--port", str(pages.port))
    if exchange is not None:
        system.log("starting the simulated exchange")
        simulate = ("pipelines.cli", "markets", "simulate", "--port", str(exchange.port))
        status_url = f"{exchange.url}{API_PATH}/exchange/status"
        children.start(child(SIMULATED_EXCHANGE, partial(http_responds, status_url), *simulate), wait=False)
    children.start(
        child(DAEMON, daemon_responds, DAGSTER_PROCESS, "dagster._daemon", "run", "-w", workspace), wait=False
    )
    children.start(child(PAGE, partial(http_responds, f"{pages.url}/api/symbols"), *page), wait=False)
    if (analysts := system.addresses.analysts) is not None:
        children.start(web_server(ANALYSTS, analysts, "--read-only"), wait=False)
    children.start(web_server(WEB_SERVER, ui))


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


@contextmanager
def _ignored_signals() -> Iterator[None]:
    """Ignore further signals during shutdown, so that every process is stopped."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_children(system: System) -> None:
    """Stop the daemon first, so that no run starts; then the runs, and then the servers that runs need."""
    with _ignored_signals():
        system.log("stopping")
        system.children.stop_checks()
        running = system.children.running()
        if DAEMON in running:
            stop([running[DAEMON]], signal.SIGTERM)
        _stop_runs(system, running.get(CODE_SERVER))
        servers = (WEB_SERVER, ANALYSTS, PAGE, SIMULATED_EXCHANGE, CODE_SERVER)
        stop([running[name] for name in servers if name in running], signal.SIGTERM)
        if LOG_WRITER in running:
            stop([running[LOG_WRITER]])  # it ends by itself, since all pipes are closed


def _stop_runs(system: System, code_server: psutil.Process | None) -> None:
    """Cancel the runs in progress, unless another system has taken over and runs them, and stop their processes."""
    workers = [] if code_server is None else process_tree(code_server)[1:]
    if system.keeper.superseded is None:
        try:
            workers += run_workers(cancel_runs())
        except Exception as error:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
            system.log(f"the runs in progress could not be canceled: {single_line(str(error))}")
    stop([process for process in set(workers) if not _is_resource_tracker(process)], signal.SIGINT)


def _is_resource_tracker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "resource_tracker" in " ".join(process.cmdline())
    return True


def _update_problems(
    settings: Settings,
    found: Sequence[Problem],
    log: Log,
    started_at: datetime,
    read_ticks: Callable[[], Sequence[TickState]],
) -> None:
    """Report `found`, full disks, a server that does not answer, and what is off or does not tick."""
    problems, now, is_connected = list(found), datetime.now(UTC), False
    directory = settings.embedded_dir / "data" if settings.database_url is None else None
    unwatched = read_watch(settings).missing(now)
    if unwatched is not None and now - started_at > MAX_UNWATCHED:
        problems.append(Problem(WATCHDOG_PROBLEM, unwatched, RunbookHeading.WATCHDOG, severity=AlertSeverity.CRITICAL))
    try:
        with configured_database(settings).connect("up", None) as connection:
            directory = directory or server_directory(connection)
            states = read_ticks()
            problems += tick_problems(ticking(states, now), started_at, now)
            problems += switched_off_problems(switched_off(states), settings.alerts.off_on_purpose)
            is_connected = True
    except DatabaseError as error:
        problems.append(Problem(SERVER_PROBLEM, str(error), RunbookHeading.SERVER, severity=AlertSeverity.CRITICAL))
    except DriverError as error:
        log(f"schedules and sensors cannot be read: {full_message(error)}")
    problems += disk_problems(settings, directory)

    def is_unknown(key: str) -> bool:
        """What Dagster stores, and the disk of a server of one's own, are not known without a connection."""
        return not is_connected and (key in {TICKS_PROBLEM, OFF_PROBLEM} or key.startswith(f"{DISK_PROBLEM}PostgreSQL"))

    try:
        update_alerts(settings, problems, now, log, by_up=True, is_unknown=is_unknown)
    except StrikecastError as error:
        log(str(error))
