"""The server's data directory, replication slots and clock, and the clocks of price sources."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipelines.domain.monitoring.alerts import ClockFacts, SlotFacts
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)


def data_directory(connection: Connection) -> Path | None:
    """The server's data directory, on the server's machine; None when it is hidden from this role."""
    found = read_value(connection, SQL["data_directory"])
    return None if found is None else Path(found)


def read_slots(connection: Connection) -> list[SlotFacts]:
    """All replication slots."""
    return read_rows(connection, SlotFacts, SQL["slots"])


def read_server_clock(connection: Connection) -> ClockFacts:
    """The server's clock, compared with this machine's between the question and the answer."""
    asked_at = datetime.now(UTC)
    server_at: datetime = read_value(connection, SQL["server_clock"])
    answered_at = datetime.now(UTC)
    half = (answered_at - asked_at) / 2
    return ClockFacts(
        "the database server", (server_at - (asked_at + half)).total_seconds(), uncertain_seconds=half.total_seconds()
    )


def read_source_clocks(connection: Connection, symbols: Sequence[str]) -> list[ClockFacts]:
    """The clocks of the sources of the symbols' newest ticks, where they are ahead of the server's.

    A source whose clock is behind cannot be distinguished from one whose prices arrive late: both make prices old.
    """
    rows = connection.execute(SQL["source_clocks"], {"symbols": list(symbols)}).fetchall()
    return [ClockFacts(f"the price source {source}", max(0.0, ahead)) for source, ahead in rows]
