"""Candles of the simulated exchange: the maker's quotes within minutes, hours or days of a market's life."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.domain.markets.settlement import MS_PER_SECOND
from pipelines.domain.prices.bars import Ints
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.events import SimulatedEvent
from pipelines.markets.simulation.maker import CENT, DOLLAR

#: The exchange's periods.
PERIOD_MINUTES = (1, 60, 1440)
#: A candle contains the quotes at its begin, its end, and every so many seconds between.
SAMPLE_MS = 20_000
MS_PER_MINUTE = 60_000

Prices = npt.NDArray[np.int16]


@dataclass(frozen=True)
class FourPrices:
    """Open, high, low and close, hundredths of a cent."""

    open: int
    high: int
    low: int
    close: int


@dataclass(frozen=True)
class Candle:
    """A period of a market. `price`: of trades, None without one; `previous`: of the candle before, if it has one.

    Prices are hundredths of a cent, 0 and 10,000 of bid and ask for none. `volume`: contracts in the period;
    `open_interest`: at its end. `end_ms`: milliseconds since 1970 UTC.
    """

    end_ms: int
    bid: FourPrices
    ask: FourPrices
    price: FourPrices | None
    previous: int | None
    volume: int
    open_interest: int


class QuoteSamples:
    """Bids and asks of all markets of an event at single instants, kept once computed: 2 bytes each."""

    def __init__(self, exchange: SimulatedExchange, event: SimulatedEvent) -> None:
        self._exchange = exchange
        self._event = event
        self._samples: dict[int, tuple[Prices, Prices]] = {}

    def missing(self, ends_ms: Iterable[int], period_ms: int) -> Iterator[int]:
        """The instants of candles that are not there yet; `add` each, which takes about half a millisecond."""
        wanted = {at_ms for end_ms in ends_ms for at_ms in self._instants(end_ms, period_ms)}
        return iter(sorted(wanted - self._samples.keys()))

    def add(self, at_ms: int) -> None:
        """Compute the quotes at an instant."""
        event = self._event
        quotes = event.maker.quotes(self._exchange.quotes_ms(at_ms), event.scheduled_ms)
        count = len(event.markets)
        bids = np.zeros(count, np.int16) if quotes is None else quotes.bids.astype(np.int16)
        asks = np.full(count, DOLLAR, np.int16) if quotes is None else quotes.asks.astype(np.int16)
        self._samples[at_ms] = bids, asks

    def candles(self, number: int, ends_ms: Sequence[int], period_ms: int) -> Iterator[Candle]:
        """The candles of one market, oldest first, of periods whose instants are all there."""
        previous: int | None = None
        for end_ms in ends_ms:
            instants = self._instants(end_ms, period_ms)
            bids = np.array([self._samples[at_ms][0][number] for at_ms in instants], dtype=np.int64)
            asks = np.array([self._samples[at_ms][1][number] for at_ms in instants], dtype=np.int64)
            before = self._event.volume(number, end_ms - period_ms)
            volume = self._event.volume(number, end_ms)
            middles = ((bids + asks) // 2 // CENT * CENT)[(bids > 0) & (asks < DOLLAR)]
            price = _prices(middles) if volume > before and len(middles) else None
            yield Candle(
                end_ms,
                _prices(bids),
                _prices(asks),
                price,
                previous,
                volume - before,
                self._event.open_interest(number, end_ms),
            )
            previous = previous if price is None else price.close

    def _instants(self, end_ms: int, period_ms: int) -> list[int]:
        """The instants of a candle within the life of the event; a second before its close, the last one."""
        last = self._event.final_close_ms - MS_PER_SECOND
        instants = {min(at_ms, last) for at_ms in range(end_ms - period_ms, end_ms + 1, SAMPLE_MS)}
        return sorted(at_ms for at_ms in instants if at_ms >= self._event.opens_ms)


def candle_ends(event: SimulatedEvent, from_ms: int, until_ms: int, period_ms: int, now_ms: int) -> list[int]:
    """The ends of the periods of an event's life that have ended, from an instant until another (included)."""
    first = -(-max(from_ms, event.opens_ms + 1) // period_ms) * period_ms
    last = min(until_ms, now_ms, -(-event.final_close_ms // period_ms) * period_ms)
    return list(range(first, last + 1, period_ms))


def _prices(prices: Ints) -> FourPrices:
    return FourPrices(int(prices[0]), int(prices.max()), int(prices.min()), int(prices[-1]))
