"""Fee terms of series and events by date, in `market_data.market_fee`."""

from datetime import datetime

from pipelines.domain.markets.fees import FeeSchedule
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def store_fees(
    connection: Connection,
    exchange: str,
    series_ticker: str,
    schedule: FeeSchedule,
    seen_at: datetime,
    event_ticker: str = "",
) -> None:
    """Store the terms of a series, or those of an event, as seen at an instant (aware), where they have changed.

    Terms without a start are in force now: the first ones apply since ever, later ones from `seen_at`.
    """
    columns = {
        "exchange": exchange,
        "series_ticker": series_ticker,
        "event_ticker": event_ticker,
        "seen_at": seen_at,
        "starts_at": [period.starts_at for period in schedule.periods],
        "ends_at": [period.ends_at for period in schedule.periods],
        "fee_type": [str(period.terms.fee_type) for period in schedule.periods],
        "multiplier": [period.terms.multiplier for period in schedule.periods],
    }
    connection.execute(SQL["store_fees"], columns)
