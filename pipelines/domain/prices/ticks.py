"""Ticks of one symbol: quote validation, recent history and the features computed from it."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.momentum import NO_BUCKET, PERCENT_PER_UNIT, bucket_of
from pipelines.domain.prices.outliers import OutlierFilter
from pipelines.domain.prices.quote_times import AHEAD_OF_CLOCK, MAX_REPEAT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MS_PER_MINUTE = 60_000
#: Maximum age of a lagged price at its lag. Feeds deliver at least once a minute; otherwise momentum is undefined.
LAG_TOLERANCE_SECONDS = 90.0
#: `price_log.source` of replayed ticks: stored history, dated now.
REPLAY = "replay"
#: Lags of the price changes in the output contract, independent of the lags of momentum.
DELTA_LAGS_MINUTES = (1, 2, 3, 4, 15, 30)


def minutes_of(instant: datetime) -> float:
    """Minutes since 1970-01-01 UTC of an aware instant, exact to the microsecond."""
    return (instant - EPOCH) / timedelta(minutes=1)


@dataclass(frozen=True)
class Tick:
    """A price at an instant (aware UTC)."""

    at: datetime
    price_usd: float

    @property
    def minutes(self) -> float:
        """Minutes since 1970-01-01 UTC."""
        return minutes_of(self.at)


@dataclass(frozen=True)
class TickFeatures:
    """Features of a tick, computed from the ticks before it.

    `mean_1m_usd`: mean price over the last minute; `deltas_pct`: change over each of DELTA_LAGS_MINUTES, None without a
    price at the lag; `score_pct`: momentum score. With `missing_lags` (minutes) the score is partial: it uses the known
    lags, their weights scaled to sum to one, and is None when no lag is known.
    """

    mean_1m_usd: float
    deltas_pct: tuple[float | None, ...]
    score_pct: float | None
    missing_lags: tuple[int, ...]


class TickHistory:
    """Recent prices of one symbol, to the millisecond, as far back as the longest lag."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        # Arrays rather than objects: at 50 ticks per second, half an hour is 90,000 ticks.
        self._instants_ms = array("q")
        self._prices_usd = array("d")
        self._features: TickFeatures | None = None

    def use_config(self, config: ModelConfig) -> None:
        """Replace the configuration of momentum."""
        self._config = config
        self._features = None

    @property
    def latest(self) -> Tick | None:
        """The newest tick."""
        return self._tick(-1) if self._instants_ms else None

    def since(self, instant: datetime) -> Iterator[Tick]:
        """Ticks at or after an instant, oldest first."""
        first = bisect_left(self._instants_ms, milliseconds_of(instant))
        return (self._tick(i) for i in range(first, len(self._instants_ms)))

    def arrays_since(self, instant: datetime) -> tuple[Ints, Floats]:
        """Ticks at or after an instant, oldest first: int64[n] milliseconds since 1970 UTC, and float64[n] USD."""
        first = bisect_left(self._instants_ms, milliseconds_of(instant))
        return np.array(self._instants_ms[first:], dtype=np.int64), np.array(self._prices_usd[first:], dtype=np.float64)

    def add(self, tick: Tick) -> bool:
        """Append a tick; return False, without adding it, unless it is newer than the newest."""
        instant = milliseconds_of(tick.at)
        if self._instants_ms and instant <= self._instants_ms[-1]:
            return False
        self._instants_ms.append(instant)
        self._prices_usd.append(tick.price_usd)
        self._features = None
        longest = max(*self._config.momentum_lags_minutes, *DELTA_LAGS_MINUTES)
        outdated = bisect_left(self._instants_ms, instant - longest * MS_PER_MINUTE - int(LAG_TOLERANCE_SECONDS * 1000))
        if outdated > len(self._instants_ms) // 4:  # rarely, because deleting moves all remaining ticks
            del self._instants_ms[:outdated], self._prices_usd[:outdated]
        return True

    def features(self) -> TickFeatures | None:
        """Features of the newest tick, or None without ticks.

        The price k minutes ago is the last one at or before that instant, at most LAG_TOLERANCE_SECONDS older.
        """
        if self._features is None and self._instants_ms:
            self._features = self._compute_features()
        return self._features

    def momentum(self) -> tuple[float | None, int | None]:
        """Score in percent and bucket of the newest tick; (None, None) while any lagged price is missing."""
        features = self.features()
        if features is None or features.score_pct is None or features.missing_lags:
            return None, None
        bucket = int(bucket_of(np.array([features.score_pct / PERCENT_PER_UNIT]), self._config)[0])
        return features.score_pct, None if bucket == NO_BUCKET else bucket

    def _compute_features(self) -> TickFeatures:
        newest, price = self._instants_ms[-1], self._prices_usd[-1]
        weights = dict(zip(self._config.momentum_lags_minutes, self._config.momentum_weights, strict=True))
        changes = {lag: self._change(newest, price, lag) for lag in {*weights, *DELTA_LAGS_MINUTES}}
        score, known = 0.0, 0.0
        for lag, weight in weights.items():
            change = changes[lag]
            if change is not None:
                score += weight * change
                known += weight
        missing = tuple(lag for lag in weights if changes[lag] is None)
        if missing and known > 0:
            score *= sum(weights.values()) / known
        minute = self._prices_usd[bisect_right(self._instants_ms, newest - MS_PER_MINUTE) :]
        return TickFeatures(
            sum(minute) / len(minute),
            tuple(_percent(changes[lag]) for lag in DELTA_LAGS_MINUTES),
            score * PERCENT_PER_UNIT if known > 0 else None,
            missing,
        )

    def _change(self, newest: int, price: float, lag_minutes: int) -> float | None:
        """Relative change over a lag, or None without a price at the lag."""
        lagged = newest - lag_minutes * MS_PER_MINUTE
        index = bisect_right(self._instants_ms, lagged) - 1
        if index < 0 or lagged - self._instants_ms[index] > LAG_TOLERANCE_SECONDS * 1000:
            return None
        past = self._prices_usd[index]
        return (price - past) / past

    def _tick(self, index: int) -> Tick:
        return Tick(EPOCH + self._instants_ms[index] * MILLISECOND, self._prices_usd[index])


def _percent(change: float | None) -> float | None:
    return None if change is None else change * PERCENT_PER_UNIT


def milliseconds_of(instant: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC of an aware instant, rounded down."""
    return (instant - EPOCH) // MILLISECOND


@dataclass(frozen=True)
class Quote:
    """A price in USD from a source; `quoted_at` (aware) is the source's own timestamp, if it provides one."""

    symbol: str
    price_usd: float
    quoted_at: datetime | None = None


#: Between the clocks of two synchronised machines.
TOLERATED_SKEW = timedelta(seconds=1)
TOLERATED_DELAY = timedelta(seconds=5)
#: An older timestamp belongs to no current price, or is in another unit.
MAX_DELAY = timedelta(days=1)


class QuoteValidator:
    """Validates the quotes of one symbol from one source, in order of arrival, and turns them into ticks.

    A tick has the source's timestamp, so that delayed quotes count as old. A repeated quote confirms its price as of
    now, until its timestamp is older than `max_repeat`: then the source may be frozen, and the quote is rejected. A
    timestamp ahead of our clock is replaced by ours.
    """

    def __init__(
        self, last: Tick | None = None, max_repeat: timedelta = MAX_REPEAT, outliers: OutlierFilter | None = None
    ) -> None:
        """`last`: the newest known price; `outliers`: the filter of all prices of the symbol."""
        self._last = last
        self._outliers = outliers or OutlierFilter(None if last is None else last.price_usd)
        self._max_repeat = max_repeat
        self._quoted_at: datetime | None = None
        self._outdated_at: datetime | None = None
        #: Description of the newest quote's problem; None without one.
        self.problem: str | None = None

    def validate(self, quote: Quote, now: datetime) -> Tick | None:
        """Return the quote's tick, or None when the quote is rejected; `now` (aware UTC) is its time of arrival."""
        quoted_at = quote.quoted_at
        self.problem = None
        if quoted_at is not None and now - quoted_at > MAX_DELAY:
            self.problem = f"the newest price is dated {quoted_at:%Y-%m-%d %H:%M} UTC"
            return None
        if quoted_at is not None and self._quoted_at is not None and quoted_at < self._quoted_at:
            return None  # delivered out of order, which is not an error of the source
        is_outdated = quoted_at is not None and now - quoted_at > self._max_repeat
        if quoted_at is not None and is_outdated and quoted_at == self._quoted_at:
            self._outdated_at = quoted_at
            self.problem = f"the source repeats its last price, dated {quoted_at:%Y-%m-%d %H:%M:%S} UTC"
            return None
        # Last, because the filter takes an accepted price as the level of all the symbol's sources.
        self.problem = self._outliers.refusal(quote.price_usd)
        if self.problem is not None:
            return None
        self._outdated_at = quoted_at if is_outdated else None
        at = now
        if quoted_at is not None and quoted_at != self._quoted_at:
            if quoted_at - now > TOLERATED_SKEW:
                ahead_seconds = (quoted_at - now).total_seconds()
                self.problem = f"prices are dated {ahead_seconds:.1f} s {AHEAD_OF_CLOCK}"
            elif now - quoted_at > TOLERATED_DELAY:
                self.problem = f"prices arrive {(now - quoted_at).total_seconds():.1f} s after their time"
            at = min(quoted_at, now)
        self._quoted_at = quoted_at or self._quoted_at
        if self._last is not None and at <= self._last.at:
            at = self._last.at + MILLISECOND
        self._last = Tick(at, quote.price_usd)
        return self._last

    def with_own_time(self, tick: Tick) -> Tick:
        """The newest tick of the symbol, with the source's timestamp while the source repeats an outdated quote.

        The ticks that confirmed the quote are later. A tick after them, of another producer, is returned unchanged.
        """
        # The database rounds to the millisecond.
        if self._outdated_at is None or self._last is None or tick.at - self._last.at >= MILLISECOND:
            return tick
        return replace(tick, at=min(tick.at, self._outdated_at))
