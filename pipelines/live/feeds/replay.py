"""The replay feed: stored history as live prices. It is the default, since it needs no network.

A day of stored bars plays in a loop. The price moves from each bar's open to its close in even steps, with a wobble, so
replayed seconds are smoother than real ones. The price depends only on the bars, the speed and the instant: a successor
continues where the previous session ended.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from pipelines.domain.prices.decimals import price_decimals
from pipelines.domain.prices.ticks import EPOCH, REPLAY, Quote, Tick
from pipelines.live.feeds.base import Feed, Source

LOOP_BARS = 24 * 60
#: Momentum looks back 30 minutes, with a tolerance of 90 s.
WARM_UP_MINUTES = 32
#: Amplitude of the wobble as a share of the bar's move.
WOBBLE = 0.25


@dataclass(frozen=True)
class Recording:
    """Bars of a symbol to replay, oldest first. Raises ValueError when there are none.

    `opened_at`: aware UTC; `opens` and `closes` in USD; `speed`: minutes of history per minute.
    """

    opened_at: tuple[datetime, ...]
    opens: tuple[float, ...]
    closes: tuple[float, ...]
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not self.opens or len(self.opens) != len(self.closes):
            raise ValueError(f"cannot replay {len(self.opens)} opens and {len(self.closes)} closes")

    def tick_at(self, instant: datetime) -> Tick:
        """The tick at an instant (aware)."""
        bar, seconds = self._position(instant)
        start, end = self._levels[bar], self._levels[bar + 1]
        share = seconds / 60.0
        wobble = WOBBLE * math.sin(6 * math.pi * share) * 4 * share * (1.0 - share)
        price = start + (end - start) * (share + wobble)
        return Tick(instant.astimezone(UTC), round(price, price_decimals(price)))

    def real_time(self, instant: datetime) -> datetime:
        """When the price that is replayed at an instant (aware) was a real one."""
        bar, seconds = self._position(instant)
        return self.opened_at[bar] + timedelta(seconds=seconds)

    def _position(self, instant: datetime) -> tuple[int, float]:
        """The bar that is replayed at an instant, and the seconds since its start."""
        minutes, seconds = divmod((instant - EPOCH).total_seconds() * self.speed, 60.0)
        return int(minutes) % len(self.closes), seconds

    @cached_property
    def _levels(self) -> tuple[float, ...]:
        """Price at the start of each bar and at the end of the last.

        Bars are chained by their returns minus the mean return, so that neither gaps nor the end of the loop jump.
        """
        log_returns = np.log(np.array(self.closes) / np.array(self.opens))
        log_levels = np.concatenate([[0.0], np.cumsum(log_returns - log_returns.mean())])
        return tuple((self.closes[-1] * np.exp(log_levels)).tolist())


class ReplaySource(Source):
    """All recordings tick together, at whole multiples of 1 / `ticks_per_second`."""

    name = REPLAY

    def __init__(self, recordings: Mapping[str, Recording], ticks_per_second: float) -> None:
        self.symbols = tuple(recordings)
        self._recordings = recordings
        self._ticks_per_second = ticks_per_second

    async def quotes(self) -> list[Quote]:
        """Wait for the next instant, and return its prices."""
        now = datetime.now(UTC).timestamp()
        due = (math.floor(now * self._ticks_per_second) + 1) / self._ticks_per_second
        await asyncio.sleep(due - now)
        at = datetime.fromtimestamp(round(due, 3), UTC)
        return [Quote(symbol, recording.tick_at(at).price_usd, at) for symbol, recording in self._recordings.items()]


class ReplayFeed(Feed):
    """A replay of recordings by symbol."""

    name = REPLAY

    def __init__(self, recordings: Mapping[str, Recording], ticks_per_second: float = 1.0) -> None:
        self._recordings = recordings
        self.sources = [ReplaySource(recordings, ticks_per_second)] if recordings else []

    def warm_up(self, symbol: str, now: datetime) -> Sequence[Tick]:
        """One tick a minute for the last half hour."""
        if symbol not in self._recordings:
            return []
        tick_at = self._recordings[symbol].tick_at
        return [tick_at(now - timedelta(minutes=minutes)) for minutes in range(WARM_UP_MINUTES, 0, -1)]

    def replayed_at(self, symbol: str, at: datetime) -> datetime | None:
        recording = self._recordings.get(symbol)
        return None if recording is None else recording.real_time(at)
