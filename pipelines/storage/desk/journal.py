"""Read what the checks of the paper desk compare: ledgers with states, and a span of the journal with its events.

Each comparison is of one instant: the desk saves while the checks read.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from psycopg.rows import dict_row

from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.monitoring.desk_checks import Ledger
from pipelines.storage.desk.reads import (
    read_balances,
    read_campaigns,
    read_inputs,
    read_state_before,
    read_unbalanced,
)
from pipelines.storage.desk.rows import EVENT_ROWS, EventRow
from pipelines.storage.desk.store import read_state, session_id
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class JournalSpan:
    """Two saved states of a campaign, with the number of the newest event at the second."""

    first: DeskState
    last: DeskState
    newest_event: int


def read_ledgers(connection: Connection) -> list[Ledger]:
    """The ledger of each campaign beside its newest saved state; first in the connection's transaction."""
    connection.execute(SQL["repeatable_read"])
    found = []
    for campaign in [one.campaign for one in read_campaigns(connection)]:
        if (state := read_state(connection, campaign)) is not None:
            unbalanced = read_unbalanced(connection, campaign)
            found.append(Ledger(state, read_balances(connection, campaign), unbalanced))
    return found


def read_span(connection: Connection, campaign: str, since: datetime) -> JournalSpan | None:
    """From the newest state saved until `since` (aware), or the oldest that is kept, to the newest of all.

    None before the first save. First in the connection's transaction.
    """
    connection.execute(SQL["repeatable_read"])
    last = read_state(connection, campaign)
    if last is None:
        return None
    parameters = {"session_id": session_id(campaign), "campaign": campaign, "since": since}
    [(inputs, newest_event)] = connection.execute(SQL["span"], parameters).fetchall()
    return JournalSpan(read_state_before(connection, campaign, inputs), last, newest_event)


def read_some_inputs(connection: Connection, campaign: str, after: int, limit: int) -> list[DeskInput]:
    """At most `limit` inputs from number `after` + 1 on, as `read_inputs` gives them."""
    return list(islice(read_inputs(connection, campaign, after), limit))


def read_events_up_to(connection: Connection, campaign: str, newest: int, count: int) -> list[EventRow]:
    """The events of a campaign up to number `newest`, the last `count` of them, oldest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"campaign": campaign, "newest": newest, "count": count}
        return EVENT_ROWS.validate_python(cursor.execute(SQL["events_up_to"], parameters).fetchall())
