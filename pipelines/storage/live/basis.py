"""The basis of each symbol from `live_data.reference_value` and the prices of `live_data.price_log`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np

from pipelines.domain.markets.basis import (
    MAX_AGE,
    Basis,
    BasisChoice,
    BasisSource,
    NoBasis,
    QuotedSums,
    basis_of_index,
    basis_of_settled,
    choose_basis,
)
from pipelines.domain.markets.settlement import MAX_VALUE_AGE_MS, VALUES, SettlementRule, settled_price
from pipelines.domain.prices.ticks import MILLISECOND
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Settled values: the closes of a day of hourly markets, of which the last hours have nearly all the weight.
SETTLED_CLOSES = 24
SETTLED_WINDOW = timedelta(hours=24)
REPLAYED = BasisChoice(None, ("replayed prices are not the market's now",))

Row = tuple[Any, ...]


def read_bases(
    connection: Connection,
    symbols: Sequence[str],
    now: datetime,
    *,
    replayed: bool,
    quoted: Mapping[str, Basis | NoBasis] | None = None,
) -> dict[str, BasisChoice]:
    """The basis of each symbol at `now` (aware UTC), from what was known then.

    `replayed`: the prices are replayed, then there is none. `quoted`: estimates by quotes, by symbol. The two
    statements read 15 minutes of the index, 900 values of a symbol, and 24 minutes of prices: once a minute is enough.
    """
    if replayed:
        return dict.fromkeys(symbols, REPLAYED)
    parameters = _parameters(symbols, now)
    index = connection.execute(SQL["index_values"], parameters).fetchall()
    settled = connection.execute(SQL["settled_values"], parameters).fetchall()
    return _bases(symbols, now, index, settled, quoted or {})


async def read_bases_async(
    connection: AsyncConnection,
    symbols: Sequence[str],
    now: datetime,
    *,
    replayed: bool,
    quoted: Mapping[str, Basis | NoBasis] | None = None,
) -> dict[str, BasisChoice]:
    """As `read_bases`."""
    if replayed:
        return dict.fromkeys(symbols, REPLAYED)
    parameters = _parameters(symbols, now)
    index = await (await connection.execute(SQL["index_values"], parameters, prepare=True)).fetchall()
    settled = await (await connection.execute(SQL["settled_values"], parameters, prepare=True)).fetchall()
    return _bases(symbols, now, index, settled, quoted or {})


async def read_quoted_sums(connection: AsyncConnection, exchange: str) -> dict[str, QuotedSums]:
    """What earlier sessions have counted of the quotes of each series, by ticker."""
    rows = await (await connection.execute(SQL["quoted_sums"], [exchange])).fetchall()
    return {series: QuotedSums(at, tuple(sums), quotes) for series, at, sums, quotes in rows}


async def store_quoted_sums(connection: AsyncConnection, exchange: str, series: str, counted: QuotedSums) -> None:
    """Replace what is counted of the quotes of a series."""
    parameters = {"exchange": exchange, "series": series, **asdict(counted), "sums": list(counted.sums)}
    await connection.execute(SQL["store_quoted_sums"], parameters)


def _parameters(symbols: Sequence[str], now: datetime) -> dict[str, Any]:
    return {
        "symbols": list(symbols),
        "now": now,
        "window": MAX_AGE[BasisSource.INDEX],
        "most_age": MAX_VALUE_AGE_MS * MILLISECOND,
        "day": SETTLED_WINDOW,
        "closes": SETTLED_CLOSES,
        "minute": timedelta(seconds=VALUES) + MAX_VALUE_AGE_MS * MILLISECOND,
    }


def _bases(
    symbols: Sequence[str],
    now: datetime,
    index: Iterable[Row],
    settled: Iterable[Row],
    quoted: Mapping[str, Basis | NoBasis],
) -> dict[str, BasisChoice]:
    index_of, settled_of = _by_symbol(index), _by_symbol(settled)
    bases = {}
    for symbol in symbols:
        estimates = [_index_basis(index_of.get(symbol, [])), _settled_basis(settled_of.get(symbol, []))]
        if symbol in quoted:
            estimates.append(quoted[symbol])
        bases[symbol] = choose_basis(estimates, now)
    return bases


def _by_symbol(rows: Iterable[Row]) -> dict[str, list[Row]]:
    return {symbol: list(found) for symbol, found in groupby(rows, key=lambda row: str(row[0]))}


def _index_basis(rows: Sequence[Row]) -> Basis | NoBasis:
    if not rows:
        minutes = MAX_AGE[BasisSource.INDEX] / timedelta(minutes=1)
        return NoBasis(BasisSource.INDEX, f"no value in the last {minutes:.0f} minutes")
    _, valued_ms, values, prices = zip(*rows, strict=True)
    # A price that is NULL becomes NaN.
    return basis_of_index(np.array(valued_ms), np.array(values, np.float64), np.array(prices, np.float64))


def _settled_basis(rows: Sequence[Row]) -> Basis | NoBasis:
    if not rows:
        hours = SETTLED_WINDOW / timedelta(hours=1)
        return NoBasis(BasisSource.SETTLED, f"no value in the last {hours:.0f} hours")
    _, closes_ms, values, ticked_ms, prices = zip(*rows, strict=True)
    means = [
        settled_price(SettlementRule.MEAN_60S, np.array(ticked or (), np.int64), np.array(usd or (), np.float64), close)
        for close, ticked, usd in zip(closes_ms, ticked_ms, prices, strict=True)
    ]
    return basis_of_settled(np.array(closes_ms), np.array(values, np.float64), np.array(means, np.float64))
