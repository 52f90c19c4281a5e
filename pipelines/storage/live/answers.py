"""Read the stored answers of the live session, with the outcome of each strike."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from pipelines.domain.markets.settlement import SettlementRule, settled_price
from pipelines.domain.prices.ticks import REPLAY, milliseconds_of
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

#: The source of a session whose prices other programs insert.
EXTERNAL = "external"

#: Columns of `outcomes`, one row per answer and strike. Prices and strikes are in USD, probabilities in percent,
#: times UTC; `prob_beyond` as in the live JSON. The closing price is that of the session's ticks, or that of the bars
#: (last_price only); `closed_at_or_above` compares it, times exp(basis), with the strike.
OUTCOME_COLUMNS: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "answered_at": pl.Datetime("us", "UTC"),
    "market_close": pl.Datetime("us", "UTC"),
    "ttc_seconds": pl.Int16(),
    "price": pl.Float64(),
    "model": pl.String(),
    "generation": pl.Int32(),
    "bucket": pl.Int16(),
    "sigma_pct": pl.Float64(),
    "status": pl.String(),
    "strike": pl.Float64(),
    "prob_beyond": pl.Float64(),
    "at_or_above": pl.Float64(),
    "closing_price": pl.Float64(),
    "closed_at_or_above": pl.Boolean(),
    "settlement": pl.String(),
    "basis_bps": pl.Float64(),
    "source": pl.String(),
}


@dataclass(frozen=True)
class StoredAnswer:
    """One row of `live_data.answer`; `prob_beyond` in percent, NaN without an answer."""

    answered_at: datetime
    market_close: datetime
    ttc_seconds: int
    price: float
    model: str
    generation: int
    bucket: int | None
    sigma_pct: float | None
    strikes: list[float]
    prob_beyond: list[float]
    status: str
    closing_price: float | None
    settlement: str
    basis_bps: float | None
    source: str | None

    @property
    def tick_source(self) -> str | None:
        """The source of the ticks that settle it; None: any but replay."""
        if self.status == REPLAY:
            return REPLAY
        return None if self.source == EXTERNAL else self.source


def value_by_ticks(
    connection: Connection, symbol: str, close: datetime, rule: SettlementRule, tick_source: str | None
) -> float | None:
    """The market's value at a close (aware) by the ticks of a source, None: of any but replay; as `settled_price`."""
    parameters = {"symbol": symbol, "market_close": close, "tick_source": tick_source}
    rows = connection.execute(SQL["last_minute"], parameters).fetchall()
    ticked_ms = np.array([milliseconds_of(at) for at, _ in rows], dtype=np.int64)
    return settled_price(rule, ticked_ms, np.array([price for _, price in rows]), milliseconds_of(close))


def answer_of_minute(connection: Connection, symbol: str, minute: datetime) -> StoredAnswer | None:
    """The answer that was stored in the minute that begins at `minute` (aware)."""
    found = read_rows(connection, StoredAnswer, SQL["answer_of_minute"], {"symbol": symbol, "minute": minute})
    return found[0] if found else None


def answer_days(connection: Connection, symbol: str, since: datetime, until: datetime) -> list[date]:
    """Days (UTC) with answers given from `since` up to `until` (aware), in order."""
    parameters = {"symbol": symbol, "since": since, "until": until}
    return [row[0] for row in connection.execute(SQL["answer_days"], parameters)]


def read_outcomes(connection: Connection, symbol: str, since: datetime, until: datetime) -> pl.DataFrame:
    """OUTCOME_COLUMNS of the answers given from `since` up to `until` (aware), oldest first."""
    parameters = {"symbol": symbol, "since": since, "until": until}
    rows = connection.execute(SQL["outcomes"], parameters).fetchall()
    return pl.DataFrame(rows, OUTCOME_COLUMNS, orient="row")
