"""The `strikecast up` that runs the system of a database: a row that is alive while its heartbeat is recent."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import AlreadyRunningError
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

APPLICATION = "up"
#: Without a heartbeat for this long, another `up` may take over.
EXPIRES_SECONDS = 30.0


@dataclass(frozen=True)
class Supervisor:
    """A `strikecast up`: its random token, machine, home folder, and the address of its UI."""

    token: str
    host: str
    home: str
    ui_url: str


def claim(database: Database, supervisor: Supervisor, earlier_tokens: Sequence[str] = ()) -> None:
    """Record a supervisor as the running one. Raises AlreadyRunningError while another one sends heartbeats.

    `earlier_tokens`: of processes that are known to have ended, whose row need not expire.
    """
    tokens = [supervisor.token, *earlier_tokens]
    parameters = {**vars(supervisor), "own_tokens": tokens, "expires_seconds": EXPIRES_SECONDS}
    with database.connect(APPLICATION, Role.PIPELINE) as connection:
        if connection.execute(SQL["claim"], parameters).fetchone() is not None:
            return
        row = connection.execute(SQL["other"]).fetchone()
    host, home, ui_url, age = row or ("unknown", "unknown", "unknown", 0.0)
    raise AlreadyRunningError(
        f"another strikecast runs on the database at {database.describe()}: on {host} with home folder {home}, Dagster "
        f"UI {ui_url}, last heartbeat {age:.0f} s ago; stop it, or give this one another database"
    )


def heartbeat(database: Database, supervisor: Supervisor) -> None:
    """Record that a supervisor is alive. Raises AlreadyRunningError when another one has taken over.

    A row that is missing, as after a restore, is recorded again.
    """
    with database.connect(APPLICATION, Role.PIPELINE) as connection:
        if connection.execute(SQL["heartbeat"], [supervisor.token]).fetchone() is not None:
            return
    claim(database, supervisor)


def release(database: Database, supervisor: Supervisor) -> None:
    """Remove a supervisor's row, so that another one need not wait for it to expire."""
    with database.connect(APPLICATION, Role.PIPELINE) as connection:
        connection.execute(SQL["release"], [supervisor.token])
