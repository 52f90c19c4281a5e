"""The simulated exchange itself: its series, events and pauses, as functions of seed, prices and the time.

It has no clock and reads nothing: `now` is an argument, and prices are given by `Index`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pipelines.domain.markets.settlement import MAX_VALUE_AGE_MS, MS_PER_SECOND
from pipelines.domain.prices.ticks import MILLISECOND, milliseconds_of
from pipelines.markets.simulation.events import MarketState, SimulatedEvent
from pipelines.markets.simulation.incidents import MS_PER_HOUR, Incidents
from pipelines.markets.simulation.index import Index, PriceHistory
from pipelines.markets.simulation.series import LONG_LIFE, Series

#: Closed events are shown for this long.
RETAINED = timedelta(hours=48)
RETAINED_MS = RETAINED // MILLISECOND


class SimulatedExchange:
    """Series of markets on the indices of symbols.

    The same seed and prices give the same events, strikes, quotes and results.
    """

    def __init__(
        self,
        series: Iterable[Series],
        prices: Mapping[str, PriceHistory],
        seed: int = 0,
        incidents: Incidents | None = None,
    ) -> None:
        """`prices`: of each symbol of the series; more may be added to them at any time."""
        self.series = {one.ticker: one for one in series}
        self.indices = {symbol: Index(symbol, seed, history) for symbol, history in prices.items()}
        self._seed = seed
        self._incidents = incidents or Incidents()
        self._events: dict[tuple[str, datetime], SimulatedEvent] = {}
        self._by_ticker: dict[str, SimulatedEvent] = {}

    def why_not_trading(self, now: datetime) -> str | None:
        """Why nothing can be traded at an instant (aware), None while it can."""
        now_ms = milliseconds_of(now)
        newest = [index.newest_ms(now_ms) for index in self.indices.values()]
        if all(at_ms is None or now_ms - at_ms > MAX_VALUE_AGE_MS for at_ms in newest):
            return "no prices arrive"
        return "trading is paused" if self._pause(now_ms) is not None else None

    def events(self, now: datetime, series: str | None = None) -> list[SimulatedEvent]:
        """The events shown at an instant (aware), the first close first: open ones, and those closed lately."""
        now_ms = milliseconds_of(now)
        found = [
            self._event(one, closes_at)
            for one in self.series.values()
            if series in (None, one.ticker)
            for closes_at in one.closes(now - RETAINED, now + LONG_LIFE)
        ]
        shown = [event for event in found if event.is_shown(now_ms, RETAINED_MS)]
        return sorted(shown, key=lambda event: (event.scheduled_ms, event.ticker))

    def event(self, ticker: str, now: datetime) -> SimulatedEvent | None:
        """One of the events shown at an instant (aware), None for others."""
        if ticker not in self._by_ticker:
            self.events(now, ticker.partition("-")[0])
        event, now_ms = self._by_ticker.get(ticker), milliseconds_of(now)
        return event if event is not None and event.is_shown(now_ms, RETAINED_MS) else None

    def states(self, event: SimulatedEvent, now: datetime, numbers: Sequence[int] | None = None) -> list[MarketState]:
        """The markets of an event at an instant (aware), or some of them by their place."""
        now_ms = milliseconds_of(now)
        return event.states(now_ms, self.quotes_ms(now_ms), numbers)

    def quotes_ms(self, now_ms: int) -> int:
        """The whole second of the quotes that are shown at an instant: while trading is paused, that of its begin."""
        pause = self._pause(now_ms)
        return (now_ms if pause is None else pause[0]) // MS_PER_SECOND * MS_PER_SECOND

    def _pause(self, now_ms: int) -> tuple[int, int] | None:
        pause = self._incidents.pause_in(self._seed, now_ms // MS_PER_HOUR)
        return pause if pause is not None and pause[0] <= now_ms < pause[1] else None

    def _event(self, series: Series, closes_at: datetime) -> SimulatedEvent:
        key = series.ticker, closes_at
        event = self._events.get(key)
        if event is None:
            index = self.indices[series.symbol]
            event = self._events[key] = SimulatedEvent(series, closes_at, index, self._seed, self._incidents)
            self._by_ticker[event.ticker] = event
            for old in [one for one in self._events if one[1] < closes_at - RETAINED - 2 * LONG_LIFE]:
                del self._by_ticker[self._events.pop(old).ticker]
        return event
