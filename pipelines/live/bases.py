"""The basis of each symbol of a live session, estimated again every BASIS_SECONDS."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pipelines.domain.markets.basis import Basis, BasisChoice, NoBasis
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.storage.live.basis import read_bases_async
from pipelines.storage.postgres.connection import AsyncPool, DriverError, full_message

#: It drifts over hours; a read takes 15 minutes of an index, if there is one.
BASIS_SECONDS = 60.0
READ_FAILURES = (DriverError, OSError, ValueError, ArithmeticError)


async def follow_bases(
    pool: AsyncPool,
    refreshers: Iterable[SymbolRefresher],
    quoted: Callable[[], Mapping[str, Basis | NoBasis]],
    due: asyncio.Event,
    *,
    replayed: bool,
) -> None:
    """Give each refresher of a market with an index its newest basis, or why there is none; forever.

    `quoted`: the estimates by quotes of symbols that have strike tables; `due`: estimate again at once.
    """
    of_symbol = {one.symbol: one for one in refreshers}
    while True:
        found = quoted()
        symbols = [one.symbol for one in of_symbol.values() if one.rule is not SettlementRule.LAST_PRICE]
        symbols += [symbol for symbol in found if symbol not in symbols]
        bases = await _read(pool, symbols, found, replayed) if symbols else {}
        for symbol, choice in bases.items():
            of_symbol[symbol].basis = choice
        with suppress(TimeoutError):
            async with asyncio.timeout(BASIS_SECONDS):
                await due.wait()
        due.clear()


async def _read(
    pool: AsyncPool, symbols: Sequence[str], quoted: Mapping[str, Basis | NoBasis], replayed: bool
) -> dict[str, BasisChoice]:
    try:
        async with pool.connection() as connection:
            return await read_bases_async(connection, symbols, datetime.now(UTC), replayed=replayed, quoted=quoted)
    except READ_FAILURES as error:  # the heartbeat ends a session that lost its server
        return dict.fromkeys(symbols, BasisChoice(None, (f"it cannot be read: {full_message(error)}",)))
