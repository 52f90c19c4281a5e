"""The basis of each symbol of a live session, estimated again every BASIS_SECONDS."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from pipelines.domain.markets.basis import BasisChoice
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.storage.live.basis import read_bases_async
from pipelines.storage.postgres.connection import AsyncPool, DriverError, full_message

#: It drifts over hours; a read takes 15 minutes of an index, if there is one.
BASIS_SECONDS = 60.0
READ_FAILURES = (DriverError, OSError, ValueError, ArithmeticError)


async def follow_bases(pool: AsyncPool, refreshers: Iterable[SymbolRefresher], *, replayed: bool) -> None:
    """Give each refresher of a market with an index its newest basis, or why there is none; forever."""
    asking = {one.symbol: one for one in refreshers if one.rule is not SettlementRule.LAST_PRICE}
    while asking:
        try:
            async with pool.connection() as connection:
                found = await read_bases_async(connection, list(asking), datetime.now(UTC), replayed=replayed)
        except READ_FAILURES as error:  # the heartbeat ends a session that lost its server
            found = dict.fromkeys(asking, BasisChoice(None, (f"it cannot be read: {full_message(error)}",)))
        for symbol, choice in found.items():
            asking[symbol].basis = choice
        await asyncio.sleep(BASIS_SECONDS)
