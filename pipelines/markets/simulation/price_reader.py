"""The prices of the simulated exchange: what `live_data.price_log` has, of any source that the live session uses."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pipelines.domain.prices.ticks import EPOCH, MILLISECOND, milliseconds_of
from pipelines.errors import single_line
from pipelines.log import Log
from pipelines.markets.simulation.engine import RETAINED
from pipelines.markets.simulation.index import PriceHistory
from pipelines.markets.simulation.series import LONG_LIFE
from pipelines.storage.live.ticks import read_seconds
from pipelines.storage.postgres.connection import AsyncPool, DriverError, full_message

#: Older prices say nothing about the events shown: the oldest was open for the longest life.
HISTORY = RETAINED + LONG_LIFE + timedelta(hours=1)
#: The history is read in parts of this length at the start.
PART = timedelta(hours=6)
#: A price may be stored so much later than its time.
MOST_DELAY = timedelta(seconds=30)
READ_FAILURES = (DriverError, OSError)
CONNECTION_TIMEOUT_SECONDS = 2.0


class PriceReader:
    """Adds new prices to the histories of symbols. `replayed` selects replayed or real prices."""

    def __init__(self, histories: Mapping[str, PriceHistory], log: Log, *, replayed: bool) -> None:
        self._histories = histories
        self._log = log
        self._replayed = replayed
        self._read_until: datetime | None = None
        self._failure: str | None = None

    async def read(self, pool: AsyncPool, now: datetime) -> None:
        """Read what is new at `now` (aware); a failure is logged once while it lasts."""
        try:
            await self._read(pool, now)
        except READ_FAILURES as error:
            failure = single_line(full_message(error))
            if failure != self._failure:
                self._log(f"prices cannot be read: {failure}")
            self._failure = failure
        else:
            if self._failure is not None:
                self._log("prices are read again")
            self._failure = None

    async def _read(self, pool: AsyncPool, now: datetime) -> None:
        while self._read_until is None or self._read_until < now:
            begin = now - HISTORY if self._read_until is None else self._read_until - MOST_DELAY
            until = min(begin + PART, now)
            since = {symbol: max(begin, self._newest(symbol)) for symbol in self._histories}
            async with pool.connection(timeout=CONNECTION_TIMEOUT_SECONDS) as connection:
                rows = await read_seconds(connection, since, until, replayed=self._replayed)
            for symbol, ticked_ms, price in rows:
                self._histories[symbol].add(ticked_ms, price)
            self._read_until = until
            for history in self._histories.values():
                history.read_until_ms = milliseconds_of(until)
                history.drop_before(milliseconds_of(now - HISTORY))

    def _newest(self, symbol: str) -> datetime:
        ticked_ms = self._histories[symbol].ticked_ms
        return EPOCH + int(ticked_ms[-1]) * MILLISECOND if len(ticked_ms) else EPOCH
