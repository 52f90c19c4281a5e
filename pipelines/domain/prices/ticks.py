"""Ticks of one symbol: which are taken, how far back they are kept, and what follows from them."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.prices.momentum import NO_BUCKET, PERCENT_PER_UNIT, bucket_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MS_PER_MINUTE = 60_000
#: A lagged price must be this young at its lag: feeds deliver at least once a minute, or momentum is not known.
LAG_TOLERANCE_SECONDS = 90.0
#: The changes that the contract names, whatever momentum is made of.
DELTA_LAGS_MINUTES = (1, 2, 3, 4, 15, 30)


def minutes_of(instant: datetime) -> float:
    """An instant (aware) in minutes since 1970 UTC, exact to the microsecond."""
    return (instant - EPOCH) / timedelta(minutes=1)


@dataclass(frozen=True)
class Tick:
    """A price at an instant (aware UTC)."""

    at: datetime
    price_usd: float

    @property
    def minutes(self) -> float:
        """The instant in minutes since 1970 UTC."""
        return minutes_of(self.at)


@dataclass(frozen=True)
class TickFeatures:
    """What a tick looks like against those before it.

    `mean_1m_usd`: mean of the ticks of the last minute; `deltas_pct`: change over DELTA_LAGS_MINUTES, None without a
    tick near the lag; `score_pct`: momentum score; where `missing_lags` (minutes) is not empty it is partial, made of
    the lags that are known with their weights scaled to one, and None when none is.
    """

    mean_1m_usd: float
    deltas_pct: tuple[float | None, ...]
    score_pct: float | None
    missing_lags: tuple[int, ...]


class TickHistory:
    """The recent prices of one symbol, oldest first, to the millisecond, as far back as momentum looks."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        # Arrays, not objects: at 50 ticks a second half an hour is 100,000 of them.
        self._instants_ms = array("q")
        self._prices_usd = array("d")
        self._features: TickFeatures | None = None

    def use_config(self, config: ModelConfig) -> None:
        """Compute momentum by another configuration from now on."""
        self._config = config
        self._features = None

    @property
    def latest(self) -> Tick | None:
        """The newest tick."""
        return self._tick(-1) if self._instants_ms else None

    def since(self, instant: datetime) -> Iterator[Tick]:
        """Ticks at or after an instant, oldest first."""
        first = bisect_left(self._instants_ms, _ms(instant))
        return (self._tick(i) for i in range(first, len(self._instants_ms)))

    def add(self, tick: Tick) -> bool:
        """Append a tick; one that is not newer than the newest is left out, and False returned."""
        instant = _ms(tick.at)
        if self._instants_ms and instant <= self._instants_ms[-1]:
            return False
        self._instants_ms.append(instant)
        self._prices_usd.append(tick.price_usd)
        self._features = None
        deepest = max(*self._config.momentum_lags_minutes, *DELTA_LAGS_MINUTES)
        outdated = bisect_left(self._instants_ms, instant - deepest * MS_PER_MINUTE - int(LAG_TOLERANCE_SECONDS * 1000))
        if outdated > len(self._instants_ms) // 4:  # seldom, since it moves all that stays
            del self._instants_ms[:outdated], self._prices_usd[:outdated]
        return True

    def features(self) -> TickFeatures | None:
        """Features of the newest tick; None without ticks.

        The price k minutes ago is the last one at or before that instant, if it is at most LAG_TOLERANCE_SECONDS older.
        """
        if self._features is None and self._instants_ms:
            self._features = self._compute_features()
        return self._features

    def momentum(self) -> tuple[float | None, int | None]:
        """Score in percent and bucket of the newest price; (None, None) while a lagged price is missing."""
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
        """Relative change since a lag; None without a tick near it."""
        asked = newest - lag_minutes * MS_PER_MINUTE
        index = bisect_right(self._instants_ms, asked) - 1
        if index < 0 or asked - self._instants_ms[index] > LAG_TOLERANCE_SECONDS * 1000:
            return None
        past = self._prices_usd[index]
        return (price - past) / past

    def _tick(self, index: int) -> Tick:
        return Tick(EPOCH + self._instants_ms[index] * MILLISECOND, self._prices_usd[index])


def _percent(change: float | None) -> float | None:
    return None if change is None else change * PERCENT_PER_UNIT


def _ms(instant: datetime) -> int:
    return (instant - EPOCH) // MILLISECOND


@dataclass(frozen=True)
class Quote:
    """What a source says: a price in USD, and when it was made by the source's own clock (aware), if it says so."""

    symbol: str
    price_usd: float
    quoted_at: datetime | None = None


#: A price this far from the one before it is believed only when others confirm it.
OUTLIER_CHANGE = 0.10
CONFIRMING_CHANGE = 0.01
CONFIRMATIONS = 2
#: Between two machines that keep time.
TOLERATED_SKEW = timedelta(seconds=1)
TOLERATED_DELAY = timedelta(seconds=5)
#: Older than this is no price of today, or a time in another unit.
MAX_DELAY = timedelta(days=1)


class QuoteValidator:
    """Takes the quotes of one symbol from one source, in order; refuses what cannot be, and says why.

    A tick bears the source's own time, so that what arrives late looks old; a quote that the source repeats is its
    price as of now; a time ahead of our clock is replaced by ours.
    """

    def __init__(self, last: Tick | None = None) -> None:
        """`last`: the newest price that is known already."""
        self._last = last
        self._stated: datetime | None = None
        self._suspect: tuple[float, int] | None = None
        #: What is wrong with the newest quote, in plain words; None when nothing is.
        self.problem: str | None = None

    def validate(self, quote: Quote, now: datetime) -> Tick | None:
        """The tick that a quote makes, None when it is refused; `now` (aware UTC) is when it arrived."""
        self.problem = self._refusal(quote, now)
        if self.problem is not None:
            return None
        stated = quote.quoted_at
        if stated is not None and self._stated is not None and stated < self._stated:
            return None  # overtaken on its way: no fault of the source
        at = now
        if stated is not None and stated != self._stated:
            if stated - now > TOLERATED_SKEW:
                self.problem = f"prices are dated {(stated - now).total_seconds():.1f} s ahead of this machine's clock"
            elif now - stated > TOLERATED_DELAY:
                self.problem = f"prices arrive {(now - stated).total_seconds():.1f} s after their time"
            at = min(stated, now)
        self._stated = stated or self._stated
        if self._last is not None and at <= self._last.at:
            at = self._last.at + MILLISECOND
        self._last = Tick(at, quote.price_usd)
        return self._last

    def _refusal(self, quote: Quote, now: datetime) -> str | None:
        price = quote.price_usd
        if not (isfinite(price) and price > 0):
            return f"{price} is no price"
        if quote.quoted_at is not None and now - quote.quoted_at > MAX_DELAY:
            return f"the newest price is of {quote.quoted_at:%Y-%m-%d %H:%M} UTC"
        if self._last is None or abs(price / self._last.price_usd - 1) <= OUTLIER_CHANGE:
            self._suspect = None
            return None
        before = self._last.price_usd
        suspect, seen = self._suspect or (price, 0)
        confirmed = seen if abs(price / suspect - 1) <= CONFIRMING_CHANGE else 0
        if confirmed >= CONFIRMATIONS:
            self._suspect = None
            return None
        self._suspect = price, confirmed + 1
        return f"{price:g} is {100 * abs(price / before - 1):.0f} % from {before:g}: not believed until it is repeated"
