"""Read the paper desk's campaigns, trades, events, equity and journal."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from psycopg.rows import dict_row

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.errors import NoDataError
from pipelines.storage.desk.codec import load_inputs
from pipelines.storage.desk.rows import EVENT_ROWS, TRADE_ROWS, CampaignRow, EquityPoint, EventRow, TradeRow
from pipelines.storage.desk.store import read_state, session_id, unpack
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


def read_campaigns(connection: Connection) -> list[CampaignRow]:
    """All campaigns by name."""
    return read_rows(connection, CampaignRow, SQL["campaigns"])


def require_campaign(connection: Connection, campaign: str) -> None:
    """Raises NoDataError for a campaign of which nothing is saved: a misspelled name would stop no desk."""
    known = [one.campaign for one in read_campaigns(connection)]
    if campaign not in known:
        raise NoDataError(f"there is no campaign {campaign!r} (known: {', '.join(known) or 'none'})")


def read_trades(connection: Connection, campaign: str, *, limit: int, since: datetime | None = None) -> list[TradeRow]:
    """The newest trades of a campaign, newest first; with `since` (aware), those signalled from then on."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["trades"], {"campaign": campaign, "limit": limit, "since": since}).fetchall()
    return TRADE_ROWS.validate_python(rows)


def read_stranded_elsewhere(connection: Connection, campaign: str, before: datetime) -> list[tuple[str, str, str]]:
    """(campaign, ticker, side) of active trades of other campaigns whose market closed before a time (aware).

    Only a desk that trades for their campaign settles them. Campaigns of the simulated exchange do not count.
    """
    return connection.execute(SQL["stranded_elsewhere"], {"campaign": campaign, "before": before}).fetchall()


def read_events(connection: Connection, campaign: str, *, limit: int) -> list[EventRow]:
    """The newest events of a campaign, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["events"], {"campaign": campaign, "limit": limit}).fetchall()
    return EVENT_ROWS.validate_python(rows)


def read_equity(connection: Connection, campaign: str, since: datetime) -> list[EquityPoint]:
    """The account at each snapshot saved from `since` (aware) on, oldest first: one a minute, and one a trade event."""
    parameters = {"session_id": session_id(campaign), "since": since}
    return [EquityPoint(*row) for row in connection.execute(SQL["equity"], parameters)]


def read_balances(connection: Connection, campaign: str) -> dict[Account, Decimal]:
    """The balance of every account by the ledger, USD; equal to that of the newest saved state's book."""
    rows = connection.execute(SQL["balances"], [campaign]).fetchall()
    return dict.fromkeys(Account, Decimal(0)) | {Account(account): balance for account, balance in rows}


def read_unbalanced(connection: Connection, campaign: str) -> list[int]:
    """Numbers of the events whose amounts in the ledger do not add up to zero; none when all is well."""
    return [event for (event,) in connection.execute(SQL["unbalanced_events"], [campaign])]


def read_inputs(connection: Connection, campaign: str, after: int) -> Iterator[DeskInput]:
    """The saved inputs of a campaign from number `after` + 1 on, in order, read as they are needed.

    Raises NoDataError when some of them have been deleted, StateError when they cannot be read.
    """
    parameters = {"campaign": campaign, "after": after}
    with connection.cursor() as cursor:
        for first, last, content in cursor.stream(SQL["inputs"], parameters):
            if first > after + 1:
                raise NoDataError(f"campaign {campaign!r}: inputs {after + 1:,} to {first - 1:,} are not stored")
            yield from load_inputs(unpack(content))[after + 1 - first :]
            after = last


def read_state_before(connection: Connection, campaign: str, inputs: int) -> DeskState:
    """The newest state that was saved after at most `inputs` inputs. Raises NoDataError when there is none."""
    state = read_state(connection, campaign, inputs)
    if state is None:
        raise NoDataError(f"campaign {campaign!r} has no saved state of input {inputs:,} or before")
    return state
