"""Markets: the age of their quotes, closed ones without a result, and the days that quotes can be stored for."""

from datetime import datetime, timedelta

from pipelines.domain.markets.board import MarketSource
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit
from pipelines.settings import Settings
from pipelines.storage.live.day_partitions import count_days_ahead
from pipelines.storage.markets.markets import read_freshness
from pipelines.storage.postgres.connection import Connection

#: The exchange settles hourly markets within minutes.
SETTLED_AFTER = timedelta(hours=1)


def measure(settings: Settings, connection: Connection, now: datetime) -> Measurements:
    """Measure at `now` (aware UTC); nothing without a source of markets."""
    found = Measurements()
    if settings.markets.source is MarketSource.NONE:
        return found
    found.add("market_days_ahead", Unit.COUNT, count_days_ahead(connection, ["market_quote"]))
    symbols = [symbol for symbol, known in settings.symbols.items() if known.series]
    for one in read_freshness(connection, str(settings.markets.source), symbols, now, SETTLED_AFTER):
        found.add("unsettled_markets", Unit.COUNT, one.unsettled, symbol=one.symbol)
        if one.newest_quote_at is None:
            found.add_gap(f"quotes of {one.symbol}", "there is none of the last day")
        else:
            age = (now - one.newest_quote_at).total_seconds()
            found.add("market_quote_age", Unit.SECONDS, age, symbol=one.symbol)
    return found
