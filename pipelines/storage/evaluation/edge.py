"""Read settled markets with their candles, and store and read scores of the model against their quotes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipelines.domain.evaluation.edge import EdgeScore, Estimate
from pipelines.domain.evaluation.recorded_quotes import Candles
from pipelines.domain.markets.contracts import Market
from pipelines.domain.markets.pool import PoolDecision, decision_by_scores
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError
from pipelines.storage.markets.markets import stored_market
from pipelines.storage.models.generations import code_version
from pipelines.storage.postgres.binary_copy import minutes_of_timestamptz
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value
from pipelines.storage.prices.history import read_arrays

SQL = Statements(__name__)


@dataclass(frozen=True)
class StoredSeries:
    """A series of a symbol on one exchange: what its markets settle on, and their first and last close (UTC)."""

    exchange: str
    series_ticker: str
    settlements: list[str]
    first_close_at: datetime
    last_close_at: datetime


@dataclass(frozen=True)
class StoredMarkets:
    """Markets of a series; `ids`: int64[n], rising. `refused`: those that contradict themselves, with the reason."""

    ids: np.ndarray[Any, np.dtype[np.int64]]
    markets: tuple[Market, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class EdgeRun:
    """What was scored. `scored_from`, `scored_until`: minutes of the first and last quote, UTC."""

    exchange: str
    symbol: str
    series_ticker: str
    settlement: SettlementRule
    model: str
    scored_from: datetime
    scored_until: datetime
    left_out: Mapping[str, int]
    refused: Sequence[str]


def read_series(connection: Connection, symbol: str) -> list[StoredSeries]:
    """The series of a symbol that have markets, by exchange and name."""
    return read_rows(connection, StoredSeries, SQL["series_of_symbol"], {"symbol": symbol})


def read_closed_markets(
    connection: Connection, symbol: str, exchange: str, series: str, since: datetime, until: datetime
) -> StoredMarkets:
    """The markets of a series that close from `since` up to `until` (aware)."""
    parameters = _range(symbol, exchange, series, since, until)
    stored, refused = [], []
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(SQL["closed_markets"], parameters):
            try:
                stored.append(stored_market(row))
            except MarketError as error:
                refused.append(str(error))
    ids = np.array([one.market_id for one in stored], dtype=np.int64)
    return StoredMarkets(ids, tuple(one.market for one in stored), tuple(refused))


def read_candles(
    connection: Connection,
    symbol: str,
    exchange: str,
    series: str,
    since: datetime,
    until: datetime,
    markets: StoredMarkets,
) -> Candles:
    """Candles of the last hour of those of `markets` that close from `since` up to `until` (aware).

    The age of the quote that a derived candle ends with is infinite where it is not known.
    """
    payloads = (">i8", ">i8", ">f8", ">f8", ">f8")
    parameters = _range(symbol, exchange, series, since, until)
    ids, ends_at, *values = read_arrays(connection, SQL["candles_as_arrays"], parameters, payloads)
    ids = ids.astype(np.int64)
    known = np.isin(ids, markets.ids)
    return Candles(
        np.searchsorted(markets.ids, ids[known]),
        minutes_of_timestamptz(ends_at[known]),
        *(column[known].astype(np.float64) for column in values),
    )


def write_edge(connection: Connection, run: EdgeRun, scores: Sequence[EdgeScore], run_id: str | None = None) -> int:
    """Store the scores of one series, those over all quotes first, and return the run's number.

    Requires a transaction.
    """
    parameters = {
        "exchange": run.exchange,
        "symbol": run.symbol,
        "series": run.series_ticker,
        "settlement": run.settlement,
        "model": run.model,
        "scored_from": run.scored_from,
        "scored_until": run.scored_until,
        "quotes": scores[0].quotes,
        "events": scores[0].events,
        "days": scores[0].days,
        "left_out": Jsonb({**run.left_out, "refused": list(run.refused)}),
        "code_version": code_version(),
        "run_id": run_id,
    }
    number = int(read_value(connection, SQL["insert_edge_run"], parameters))
    with connection.cursor().copy(SQL["copy_edge_scores_in"]) as copy:
        for score in scores:
            copy.write_row((number, *_row(score)))
    return number


def read_pool_decisions(connection: Connection, exchange: str) -> dict[str, PoolDecision]:
    """Whether the pool is served, by series, by the newest scores of each series on an exchange.

    A series without scores is absent: `pool.NOT_SCORED` is its decision.
    """
    return _decisions(connection.execute(SQL["pool_scores"], {"exchange": exchange}).fetchall())


async def read_pool_decisions_async(connection: AsyncConnection, exchange: str) -> dict[str, PoolDecision]:
    """As `read_pool_decisions`."""
    cursor = await connection.execute(SQL["pool_scores"], {"exchange": exchange}, prepare=True)
    return _decisions(await cursor.fetchall())


def _decisions(rows: Iterable[tuple[Any, ...]]) -> dict[str, PoolDecision]:
    found = {}
    for series, events, difference, low, high, model, champion in rows:
        interval = None if low is None else (low, high)
        found[series] = decision_by_scores(events, difference, interval, model=model, champion=champion)
    return found


def _range(symbol: str, exchange: str, series: str, since: datetime, until: datetime) -> dict[str, Any]:
    return {"symbol": symbol, "exchange": exchange, "series": series, "since": since, "until": until}


def _row(score: EdgeScore) -> tuple[object, ...]:
    estimates = (score.brier, score.log_loss, score.brier_difference, score.log_loss_difference)
    return (
        score.dimension,
        score.level,
        score.forecaster,
        score.quotes,
        score.events,
        score.days,
        score.mean_probability,
        score.observed_frequency,
        *(value for estimate in estimates for value in _columns(estimate)),
    )


def _columns(estimate: Estimate) -> tuple[float | None, ...]:
    ends = (
        end
        for one in (estimate.by_event, estimate.by_day)
        for end in ((None, None) if one is None else (one.low, one.high))
    )
    return (estimate.value, *ends)
