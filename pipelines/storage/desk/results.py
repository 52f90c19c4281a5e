"""Final results of markets, for the settlement of the paper desk's trades."""

from collections.abc import Sequence
from decimal import Decimal

from pipelines.domain.markets.contracts import MarketResult
from pipelines.storage.postgres.connection import AsyncConnection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


async def read_results_async(
    connection: AsyncConnection, exchange: str, tickers: Sequence[str]
) -> list[tuple[str, MarketResult, Decimal | None]]:
    """(ticker, result, what one YES contract is paid in dollars) of the markets whose result is final, by ticker."""
    parameters = {"exchange": exchange, "tickers": list(tickers)}
    rows = await (await connection.execute(SQL["final_results"], parameters, prepare=True)).fetchall()
    return [(ticker, MarketResult(result), value) for ticker, result, value in rows]
