"""The endpoints of candles. Long answers are computed in parts, so that other requests are answered meanwhile."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from pipelines.domain.markets.settlement import MS_PER_SECOND
from pipelines.domain.prices.ticks import milliseconds_of
from pipelines.markets.simulation import messages
from pipelines.markets.simulation.candles import MS_PER_MINUTE, PERIOD_MINUTES, QuoteSamples, candle_ends
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.events import SimulatedEvent
from pipelines.markets.simulation.messages import Message
from pipelines.markets.simulation.responses import not_found, number_of, refused, respond

#: Periods of one request: of one market, and of several together.
MOST_PERIODS, MOST_PERIODS_TOGETHER = 5_000, 10_000
MOST_TICKERS = 100
LATEST_SECOND = 10**11
#: Events whose quotes are kept: a backfill asks for one market of an event after the other.
KEPT_EVENTS = 6
#: Instants that are computed without a break, five milliseconds or so.
PART = 10


class CandleEndpoints:
    """The request handlers. `clock`: the exchange's time (aware UTC)."""

    def __init__(self, exchange: SimulatedExchange, clock: Callable[[], datetime]) -> None:
        self._exchange = exchange
        self._clock = clock
        self._samples: OrderedDict[str, QuoteSamples] = OrderedDict()

    async def of_market(self, request: Request) -> Response:
        """Candles of one market."""
        series, ticker = request.path_params["series"], request.path_params["market"]
        [(_, event)] = self._found([ticker])
        if event is None or event.series.ticker != series:
            raise not_found("market")
        candles = await self._candles(request, [(ticker, event)], MOST_PERIODS)
        return respond({"ticker": ticker, "candlesticks": candles[ticker]}, self._clock())

    async def of_markets(self, request: Request) -> Response:
        """Candles of several markets; unknown ones are left out."""
        tickers = list(dict.fromkeys(request.query_params.get("market_tickers", "").split(",")))
        if len(tickers) > MOST_TICKERS:
            raise refused(f"{len(tickers)} tickers, at most {MOST_TICKERS} are permitted")
        known = [(ticker, event) for ticker, event in self._found(tickers) if event is not None]
        candles = await self._candles(request, known, MOST_PERIODS_TOGETHER // len(tickers))
        rows = [{"market_ticker": ticker, "candlesticks": found} for ticker, found in candles.items()]
        return respond({"markets": rows}, self._clock())

    def _found(self, tickers: Iterable[str]) -> list[tuple[str, SimulatedEvent | None]]:
        events = [(ticker, self._exchange.event(ticker.rpartition("-")[0], self._clock())) for ticker in tickers]
        return [(ticker, event if event is not None and ticker in event.numbers else None) for ticker, event in events]

    async def _candles(
        self, request: Request, markets: Sequence[tuple[str, SimulatedEvent]], most: int
    ) -> dict[str, list[Message]]:
        query = request.query_params
        minutes = number_of(query, "period_interval", None, 1, PERIOD_MINUTES[-1])
        if minutes not in PERIOD_MINUTES:
            raise refused(f"period_interval {minutes}: expected {', '.join(map(str, PERIOD_MINUTES))}")
        first, last = (number_of(query, name, None, 0, LATEST_SECOND) for name in ("start_ts", "end_ts"))
        if (last - first) // (60 * minutes) > most:
            raise refused(f"{(last - first) // (60 * minutes)} periods, at most {most} are permitted")
        period_ms, now_ms = minutes * MS_PER_MINUTE, milliseconds_of(self._clock())
        found: dict[str, list[Message]] = {}
        for ticker, event in markets:
            ends = candle_ends(event, first * MS_PER_SECOND, last * MS_PER_SECOND, period_ms, now_ms)
            samples = self._samples_of(event)
            for count, at_ms in enumerate(samples.missing(ends, period_ms)):
                samples.add(at_ms)
                if count % PART == PART - 1:
                    await asyncio.sleep(0)
            candles = samples.candles(event.numbers[ticker], ends, period_ms)
            found[ticker] = [messages.candle_message(candle) for candle in candles]
        return found

    def _samples_of(self, event: SimulatedEvent) -> QuoteSamples:
        samples = self._samples.setdefault(event.ticker, QuoteSamples(self._exchange, event))
        self._samples.move_to_end(event.ticker)
        while len(self._samples) > KEPT_EVENTS:
            self._samples.popitem(last=False)
        return samples
