"""Copy tables with a row per symbol and instant as binary arrays; numpy is imported only where there are rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
from psycopg import sql

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.queries.relations import SERIES, TYPES, Relation
from pipelines.storage.queries.statements import composed, duckdb_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SQL = Statements(__name__)

EPOCH_2000_MICROSECONDS = 946_684_800_000_000


def load_series(
    connection: Connection,
    queried: duckdb.DuckDBPyConnection,
    relation: Relation,
    names: Sequence[str],
    where: sql.Composable,
) -> None:
    """Insert the columns `names` of the rows that fulfil a condition, symbol by symbol and year by year."""
    for (symbol,) in connection.execute(composed(SQL["symbols"], relation=relation.identifier)).fetchall():
        _load_symbol(connection, queried, relation, symbol, names, where)


def _load_symbol(
    connection: Connection,
    queried: duckdb.DuckDBPyConnection,
    relation: Relation,
    symbol: str,
    names: Sequence[str],
    where: sql.Composable,
) -> None:
    instant = sql.Identifier(SERIES[relation.name])
    known = {"relation": relation.identifier, "instant": instant, "conditions": where, "symbol": sql.Literal(symbol)}
    row = connection.execute(composed(SQL["span"], **known)).fetchone()
    if row is None or row[0] is None:
        return
    from pipelines.storage.prices.history import read_arrays

    read = [name for name in names if name != "symbol"] or [SERIES[relation.name]]
    kinds = [relation.type_of[name] for name in read]
    columns = sql.SQL(", ").join(composed(SQL["array"], column=sql.Identifier(name)) for name in read)
    for year in range(row[0].year, row[1].year + 1):
        span = {name: sql.Literal(datetime(y, 1, 1, tzinfo=UTC)) for name, y in (("since", year), ("until", year + 1))}
        statement = composed(SQL["arrays"], columns=columns, **known, **span)
        arrays = read_arrays(connection, statement, None, [TYPES[kind][1] or "" for kind in kinds])
        values = {name: _values(kind, array) for name, kind, array in zip(read, kinds, arrays, strict=True)}
        queried.register("arrays", values)
        given = [sql.Literal(symbol) if name == "symbol" else sql.Identifier(name) for name in names]
        target = sql.Identifier("loaded", relation.name)
        queried.execute(duckdb_text(SQL["insert_arrays"], target=target, columns=sql.SQL(", ").join(given)))
        queried.unregister("arrays")


def _values(kind: str, array: "npt.NDArray[np.generic]") -> "npt.NDArray[np.generic]":
    if kind == "timestamp with time zone":
        return (array.astype("int64") + EPOCH_2000_MICROSECONDS).astype("datetime64[us]")
    return array.astype(array.dtype.newbyteorder("="))
