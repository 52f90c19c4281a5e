"""Keep the database of `strikecast up` running: restart the embedded server, and send the supervisor's heartbeat."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event

from pipelines.deployment import configured_database, embedded_server_runs, restart_embedded_server
from pipelines.errors import AlreadyRunningError, StrikecastError
from pipelines.log import Log
from pipelines.service.children import MAX_PAUSE_SECONDS, SILENT_SECONDS, Replacements
from pipelines.service.threads import repeat
from pipelines.settings import Settings
from pipelines.storage.monitoring import supervisors
from pipelines.storage.monitoring.supervisors import Supervisor
from pipelines.storage.postgres.connection import Database

#: Name of the embedded server in messages.
SERVER = "database server"
CHECK_SECONDS = 2.0
PING_TIMEOUT_SECONDS = 4
HEARTBEAT_SECONDS = 5.0


@dataclass
class DatabaseKeeper:
    """Runs on a thread of its own, since starting a server may take minutes. Instants are by the monotonic clock."""

    settings: Settings
    supervisor: Supervisor
    log: Log
    on_replacement: Callable[[], None] = lambda: None
    #: Set when another supervisor has taken over: this one must end.
    superseded: AlreadyRunningError | None = None
    responded_at: float = field(default_factory=time.monotonic)
    #: Of the embedded server.
    replacements: Replacements = field(default_factory=lambda: Replacements(SERVER))
    _heartbeat_at: float = 0.0
    _checked_at: float = field(default_factory=time.monotonic)
    _stop: Event = field(default_factory=Event)

    def responds(self) -> bool:
        """Whether the server has answered lately."""
        return time.monotonic() - self.responded_at < 2 * MAX_PAUSE_SECONDS

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the server running within the context."""
        thread = repeat("database keeper", self._check, self._ends, self.log)
        try:
            yield
        finally:
            self._stop.set()
            thread.join(PING_TIMEOUT_SECONDS + 1)
            with suppress(StrikecastError):
                supervisors.release(configured_database(self.settings), self.supervisor)

    def _ends(self) -> bool:
        return self._stop.wait(CHECK_SECONDS) or self.superseded is not None

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked_at > MAX_PAUSE_SECONDS + PING_TIMEOUT_SECONDS:
            self.responded_at = now  # this process was suspended, not the server
        self._checked_at = now
        database = configured_database(self.settings)
        is_embedded = self.settings.database_url is None
        if is_embedded and not embedded_server_runs(self.settings):
            self._replace("ended")
        elif database.responds(PING_TIMEOUT_SECONDS):
            self.responded_at = time.monotonic()
        elif is_embedded and time.monotonic() - self.responded_at > SILENT_SECONDS:
            self._replace(f"did not answer for {time.monotonic() - self.responded_at:.0f} s")
        else:
            return
        is_due = time.monotonic() - self._heartbeat_at >= HEARTBEAT_SECONDS
        if is_due and database.accepts_connections(PING_TIMEOUT_SECONDS):
            self._send_heartbeat(database)

    def _replace(self, reason: str) -> None:
        self.replacements.add(reason)
        self.log(f"the {SERVER} {reason}; starting it again")
        self.on_replacement()
        restart_embedded_server(self.settings, self.log)
        self.responded_at = time.monotonic()
        self._checked_at = time.monotonic()

    def _send_heartbeat(self, database: Database) -> None:
        try:
            supervisors.heartbeat(database, self.supervisor)
        except AlreadyRunningError as error:
            self.superseded = error
        self._heartbeat_at = time.monotonic()
