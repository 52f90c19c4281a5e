"""What checks of stored markets and quotes judge."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import LiteralString

from pipelines.domain.evaluation.market_checks import SHOWN, QuoteAge, QuoteCounts
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)

#: Open events without a quote for longer are as old as their opening.
OLDEST_QUOTE = timedelta(days=1)
#: Tables with the statement that counts a symbol's rows.
_COUNTS = {"market": "count_markets", "market_fee": "count_fees"}


def read_index_values(
    connection: Connection, symbol: str, exchange: str, series: str, since: datetime, until: datetime
) -> dict[str, Decimal]:
    """The values of the index that markets settled on, by ticker, of those that closed in [since, until) (aware)."""
    return dict(connection.execute(SQL["index_values"], [symbol, exchange, series, since, until]).fetchall())


def read_quote_counts(connection: Connection, symbol: str, since: datetime, until: datetime) -> QuoteCounts:
    """Quotes of a symbol's markets received in [since, until) (aware), and those that are crossed."""
    span = {"symbol": symbol, "since": since, "until": until, "shown": SHOWN}
    [(quotes, crossed)] = connection.execute(SQL["quote_counts"], span).fetchall()
    first = connection.execute(SQL["first_crossed"], span).fetchall() if crossed else []
    return QuoteCounts(quotes, crossed, [(ticker, at) for ticker, at in first])


def read_quote_ages(connection: Connection, symbol: str, exchange: str, now: datetime) -> list[QuoteAge]:
    """The event that closes next of each series of a symbol that is open at `now` (aware)."""
    parameters = {"symbol": symbol, "exchange": exchange, "now": now, "oldest": OLDEST_QUOTE}
    return read_rows(connection, QuoteAge, SQL["quote_ages"], parameters)


def count_rows(connection: Connection, table: str, symbol: str) -> int:
    """Rows of `market` or `market_fee` that belong to a symbol."""
    statement: LiteralString = SQL[_COUNTS[table]]
    return int(read_value(connection, statement, [symbol]))
