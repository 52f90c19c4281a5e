"""The life of an event of the simulated exchange: open, closed, determined, finalized; and what its markets show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property

import numpy as np

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus
from pipelines.domain.markets.settlement import MS_PER_SECOND
from pipelines.domain.prices.ticks import EPOCH, MILLISECOND, milliseconds_of
from pipelines.markets.simulation.contracts import EventTimes, markets_of
from pipelines.markets.simulation.incidents import Incidents
from pipelines.markets.simulation.index import CENTS, Index
from pipelines.markets.simulation.maker import EventQuotes, Level, Maker
from pipelines.markets.simulation.noise import key_of, normals, uniform
from pipelines.markets.simulation.series import Series, SeriesKind

#: Prices before an open, and before a close, may arrive so much later than it; then they count as missing.
OPEN_PATIENCE_MS, CLOSE_PATIENCE_MS = 10_000, 600_000
#: Seconds from the close until a result is determined: of the event, more of each market; then until it is final.
DETERMINED_SECONDS, MARKET_SECONDS, SETTLEMENT_TIMER_SECONDS = (5, 45), 5, 60
#: Contracts traded: the log's mean and standard deviation, and by how many strikes from the middle they fade.
VOLUME_MEAN, VOLUME_DEVIATION, VOLUME_FADING = 6.5, 0.8, 6.0
OPEN_SHARE = 0.6


@dataclass(frozen=True)
class MarketState:
    """A market at an instant. `market` has its status, close and result as of then.

    `yes_bids`, `no_bids`: price in hundredths of a cent, contracts; best first. `volume`, `open_interest`: contracts.
    `index_value_usd`: what it settled on.
    """

    market: Market
    yes_bids: Sequence[Level]
    no_bids: Sequence[Level]
    volume: int
    open_interest: int
    index_value_usd: Decimal | None


@dataclass(frozen=True)
class _Fate:
    """What happens to a market: inactive from and until, whether it is voided, and when its result is determined."""

    halt: tuple[int, int] | None
    is_void: bool
    determined_ms: int


class SimulatedEvent:
    """One close of a series. Times are in milliseconds since 1970 UTC.

    What it shows depends on seed, ticker, prices and the instant asked for, not on what was asked before.
    """

    def __init__(self, series: Series, closes_at: datetime, index: Index, seed: int, incidents: Incidents) -> None:
        """`closes_at`: its scheduled close."""
        self.series = series
        self.ticker = series.event_ticker(closes_at)
        self.closes_at = closes_at
        self.opens_at = series.opens_at(closes_at)
        self.opens_ms, self.scheduled_ms = milliseconds_of(self.opens_at), milliseconds_of(closes_at)
        self._index = index
        self._seed = seed
        self._incidents = incidents
        self._early_ms = incidents.early_close_of(seed, self.ticker, self.opens_ms, self.scheduled_ms)
        self._listed_ms: int | None = None
        self._markets: tuple[Market, ...] | None = None
        self._is_settled = False
        self._settled_value: Decimal | None = None
        self._quotes: tuple[int, EventQuotes | None] | None = None

    @property
    def final_close_ms(self) -> int:
        """When it closes in the end."""
        return self.scheduled_ms if self._early_ms is None else self._early_ms

    def close_ms(self, now_ms: int) -> int:
        """Its close as known at an instant: an early close is not announced."""
        return self.final_close_ms if now_ms >= self.final_close_ms else self.scheduled_ms

    def is_open(self, now_ms: int) -> bool:
        """Whether it can be traded, but for halts."""
        return self.opens_ms <= now_ms < self.final_close_ms

    def is_shown(self, now_ms: int, retained_ms: int) -> bool:
        """Whether it is shown: from its open on, once there are prices, until `retained_ms` after its close."""
        if not self.opens_ms <= now_ms < self.scheduled_ms + retained_ms:
            return False
        if self._listed_ms is None:
            self._list(now_ms)
        return self._listed_ms is not None and self._listed_ms <= now_ms and self._listed_ms < self.final_close_ms

    def _list(self, now_ms: int) -> None:
        """Create the markets if all prices until the open, or until the first one after it, are known."""
        listed_ms = self._index.first_live_ms(self.opens_ms)
        if listed_ms is None or not self._index.is_complete(listed_ms, now_ms, OPEN_PATIENCE_MS):
            return
        self._listed_ms = listed_ms
        if listed_ms < self.final_close_ms:
            value = self._index.value_at(listed_ms)
            assert value is not None
            self._markets = self._create(Decimal(repr(value)))

    @property
    def markets(self) -> tuple[Market, ...]:
        """Its markets, as they were created; once it is listed."""
        assert self._markets is not None
        return self._markets

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The place of each ticker in `markets`."""
        return {market.ticker: number for number, market in enumerate(self.markets)}

    @cached_property
    def title(self) -> str:
        """Its title."""
        return self.series.title(self.closes_at)

    @cached_property
    def maker(self) -> Maker:
        """The maker of its markets."""
        tapered = self.series.kind is SeriesKind.QUARTER_HOUR
        return Maker(self._seed, self._index, self.ticker, self.markets, tapered=tapered)

    def quotes(self, at_ms: int) -> EventQuotes | None:
        """The maker's quotes at a whole second while it is open, None while the maker sees no index."""
        if self._quotes is None or self._quotes[0] != at_ms:
            self._quotes = at_ms, self.maker.quotes(at_ms, self.scheduled_ms)
        return self._quotes[1]

    def status(self, now_ms: int) -> MarketStatus:
        """Active until its close, then the status of the market that is the last to reach each."""
        latest = max(range(len(self.markets)), key=lambda number: self._fates[number].determined_ms)
        return MarketStatus.ACTIVE if now_ms < self.final_close_ms else self.market_status(latest, now_ms)

    def market_status(self, number: int, now_ms: int) -> MarketStatus:
        """The status of one market."""
        fate = self._fates[number]
        if now_ms < self.final_close_ms:
            is_halted = fate.halt is not None and fate.halt[0] <= now_ms < fate.halt[1]
            return MarketStatus.INACTIVE if is_halted else MarketStatus.ACTIVE
        self.settled_value(now_ms)
        if now_ms < fate.determined_ms or not self._is_settled:
            return MarketStatus.CLOSED
        is_final = now_ms >= fate.determined_ms + SETTLEMENT_TIMER_SECONDS * MS_PER_SECOND
        return MarketStatus.FINALIZED if is_final else MarketStatus.DETERMINED

    def settled_value(self, now_ms: int) -> Decimal | None:
        """What it settles on; None before its close, and where prices are missing."""
        close_ms = self.final_close_ms
        if not self._is_settled and self._index.is_complete(close_ms, now_ms, CLOSE_PATIENCE_MS):
            self._is_settled, self._settled_value = True, self._index.settled_value(close_ms)
        return self._settled_value if now_ms >= close_ms else None

    def states(self, now_ms: int, quotes_ms: int, numbers: Sequence[int] | None = None) -> list[MarketState]:
        """Its markets at an instant, or some of them; `quotes_ms`: the whole second of the quotes."""
        wanted = range(len(self.markets)) if numbers is None else numbers
        return [self._state(number, now_ms, quotes_ms) for number in wanted]

    def _state(self, number: int, now_ms: int, quotes_ms: int) -> MarketState:
        market, close_ms = self.markets[number], self.close_ms(now_ms)
        status, result, value = self.market_status(number, now_ms), None, None
        if status in {MarketStatus.DETERMINED, MarketStatus.FINALIZED}:
            result, value = self._result(number, now_ms)
        yes_bids: Sequence[Level] = ()
        no_bids: Sequence[Level] = ()
        if status is MarketStatus.ACTIVE and quotes_ms >= self.opens_ms:
            quotes = self.quotes(quotes_ms)
            if quotes is not None:
                yes_bids, no_bids = self.maker.book(quotes, number)
        payout = None if result is None or result is MarketResult.VOID else Decimal(result is MarketResult.YES)
        shown = replace(
            market,
            status=status,
            closes_at=EPOCH + close_ms * MILLISECOND,
            result=result,
            settlement_value=payout,
        )
        volume, open_interest = self.volume(number, now_ms), self.open_interest(number, now_ms)
        return MarketState(shown, yes_bids, no_bids, volume, open_interest, value)

    def _result(self, number: int, now_ms: int) -> tuple[MarketResult, Decimal | None]:
        """The result of a market that is determined, and what it settled on."""
        value = self.settled_value(now_ms)
        if value is None or self._fates[number].is_void:
            return MarketResult.VOID, None
        return MarketResult.YES if self.markets[number].is_yes_at(value) else MarketResult.NO, value

    @cached_property
    def _fates(self) -> list[_Fate]:
        return [
            _Fate(
                self._incidents.halt_of(self._seed, market.ticker, self.opens_ms, self.scheduled_ms),
                self._incidents.is_void(self._seed, market.ticker),
                self.final_close_ms + self._determined_seconds(market.ticker) * MS_PER_SECOND,
            )
            for market in self.markets
        ]

    def _determined_seconds(self, market: str) -> int:
        """Seconds from the close until the result of a market is determined."""
        shortest, longest = DETERMINED_SECONDS
        event = int(uniform(key_of(self._seed, "determined", self.ticker)) * (longest - shortest + 1))
        return shortest + event + int(uniform(key_of(self._seed, "determined", market)) * (MARKET_SECONDS + 1))

    def volume(self, number: int, at_ms: int) -> int:
        """Contracts traded since the open: whole ones, more of them towards the close and in the middle."""
        at_ms = min(at_ms, self.final_close_ms)
        log = VOLUME_MEAN + VOLUME_DEVIATION * float(self._volume_noise[number])
        distance = abs(number - len(self.markets) // 2) / VOLUME_FADING
        share = min(max((at_ms - self.opens_ms) / (self.scheduled_ms - self.opens_ms), 0.0), 1.0)
        return int(np.exp(log - distance) * share * (0.5 + 0.5 * share))

    def open_interest(self, number: int, at_ms: int) -> int:
        """Contracts that are held."""
        return int(self.volume(number, at_ms) * OPEN_SHARE)

    @cached_property
    def _volume_noise(self) -> list[float]:
        keys = np.arange(len(self.markets))
        noise: list[float] = normals(key_of(self._seed, "volume", self.ticker), keys).tolist()
        return noise

    def _create(self, value_usd: Decimal) -> tuple[Market, ...]:
        reference = value_usd.quantize(CENTS)
        if self.series.kind is SeriesKind.QUARTER_HOUR:
            before = SimulatedEvent(self.series, self.opens_at, self._index, self._seed, self._incidents)
            settled = self._index.settled_value(before.final_close_ms)
            reference = reference if settled is None else settled
        return markets_of(self.series, EventTimes(self.ticker, self.opens_at, self.closes_at), reference, self._seed)
