"""Records of imported recordings, in `market_data.market_import`."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def lock_imports(connection: Connection) -> None:
    """Exclude other imports of markets, and the archiving of quotes, until the transaction ends."""
    lock_symbol(connection, "strikecast.markets", "imports")


def record_import(
    connection: Connection,
    exchange: str,
    symbol: str,
    files: Sequence[Mapping[str, Any]],
    rows_read: int,
    rows_stored: int,
    rejected: Sequence[Mapping[str, Any]],
) -> None:
    """Record an import. `files`, `rejected`: see the columns' comments."""
    parameters = {
        "exchange": exchange,
        "symbol": symbol,
        "files": orjson.dumps(files).decode(),
        "rows_read": rows_read,
        "rows_stored": rows_stored,
        "rejected": orjson.dumps(rejected).decode(),
    }
    connection.execute(SQL["record_import"], parameters)
