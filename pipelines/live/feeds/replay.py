"""The replay feed: stored history as if it happened now. The default, since it needs no network.

A day of stored bars is played in a loop, the price moving from each bar's open to its close in even steps with a wobble
in between; so replayed seconds are smoother than real ones. The price at an instant depends on the bars, the speed and
the instant alone: a session that takes over goes on where the one before it ended.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import ClassVar

import numpy as np

from pipelines.domain.prices.ticks import EPOCH, Quote, Tick

#: What ticks are called in `price_log.source` that nobody traded at.
REPLAY = "replay"
LOOP_BARS = 24 * 60
#: Momentum looks back 30 minutes, with a tolerance of 90 s.
WARM_UP_MINUTES = 32
#: Share of a bar's move that the wobble inside of it may take.
WOBBLE = 0.25


@dataclass(frozen=True)
class Recording:
    """A symbol's bars to replay: `opens` and `closes` in USD, oldest first. Raises ValueError when there are none.

    `speed`: minutes of history per minute.
    """

    opens: tuple[float, ...]
    closes: tuple[float, ...]
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not self.opens or len(self.opens) != len(self.closes):
            raise ValueError(f"{len(self.opens)} opens and {len(self.closes)} closes are no bars to replay")

    def tick_at(self, instant: datetime) -> Tick:
        """The price at an instant (aware)."""
        minutes, seconds = divmod((instant - EPOCH).total_seconds() * self.speed, 60.0)
        bar = int(minutes) % len(self.closes)
        start, end = self._levels[bar], self._levels[bar + 1]
        share = seconds / 60.0
        wobble = WOBBLE * math.sin(6 * math.pi * share) * 4 * share * (1.0 - share)
        price = start + (end - start) * (share + wobble)
        return Tick(instant.astimezone(UTC), round(price, 2 if price >= 1 else 8))

    def warm_up(self, now: datetime) -> Iterator[Tick]:
        """One tick a minute for the half hour before `now`, from which momentum can be computed at once."""
        for minutes in range(WARM_UP_MINUTES, 0, -1):
            yield self.tick_at(now - timedelta(minutes=minutes))

    @cached_property
    def _levels(self) -> tuple[float, ...]:
        """Price at the start of each bar and at the end of the last.

        Bars are chained by their returns, less the mean return: neither gaps nor the loop's end make a jump.
        """
        log_returns = np.log(np.array(self.closes) / np.array(self.opens))
        log_levels = np.concatenate([[0.0], np.cumsum(log_returns - log_returns.mean())])
        return tuple((self.closes[-1] * np.exp(log_levels)).tolist())


@dataclass(frozen=True)
class ReplayFeed:
    """Recordings by symbol, all ticking together, at whole multiples of 1 / `ticks_per_second`."""

    recordings: Mapping[str, Recording]
    ticks_per_second: float = 1.0
    name: str = REPLAY
    starts_early: ClassVar[bool] = False

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols it has prices of."""
        return tuple(self.recordings)

    @property
    def sources(self) -> Sequence["ReplayFeed"]:
        """Itself: one clock for all symbols."""
        return (self,) if self.recordings else ()

    async def quotes(self) -> Sequence[Quote]:
        """The prices at the next instant at which it ticks."""
        now = datetime.now(UTC).timestamp()
        due = (math.floor(now * self.ticks_per_second) + 1) / self.ticks_per_second
        await asyncio.sleep(due - now)
        instant = datetime.fromtimestamp(round(due, 3), UTC)
        return [Quote(symbol, one.tick_at(instant).price_usd, instant) for symbol, one in self.recordings.items()]

    async def reset(self) -> None:
        """Nothing to do."""

    async def prepare(self) -> None:
        """Nothing to do."""

    def warm_up(self, symbol: str, now: datetime) -> Iterable[Tick]:
        """Half an hour of one tick a minute."""
        recording = self.recordings.get(symbol)
        return () if recording is None else recording.warm_up(now)

    async def close(self) -> None:
        """Nothing to do."""
