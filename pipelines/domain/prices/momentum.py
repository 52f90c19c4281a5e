"""Momentum: the weighted mean of recent returns, and its bucket."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.prices.bars import Closes, Floats

#: Bucket of a row without a bucket.
NO_BUCKET = -128
BPS_PER_UNIT = 10_000
PERCENT_PER_UNIT = 100
HALF_DECIMALS = 9


@dataclass(frozen=True)
class Momentum:
    """Momentum of each bar, in bar order.

    `score_pct`: float64[n], S in percent, NaN where a lagged close is missing.
    `buckets`: int8[n], -30..30, NO_BUCKET where undefined.
    """

    score_pct: Floats
    buckets: npt.NDArray[np.int8]


def weighted_return(price: Floats, lagged: Floats, config: ModelConfig) -> Floats:
    """S = sum of weight_k * (P - P_k) / P_k, as a fraction; NaN where any P_k is NaN.

    `price`: float64[n]; `lagged`: float64[k, n], the price `momentum_lags_minutes[k]` ago, in the same unit.
    """
    score = np.zeros(price.shape)
    for weight, past in zip(config.momentum_weights, lagged, strict=True):
        score += weight * ((price - past) / past)
    return score


def bucket_of(score: Floats, config: ModelConfig) -> npt.NDArray[np.int8]:
    """Bucket of each score (a fraction): S in basis points, rounded half to even.

    `sound`: the outermost buckets are open-ended. `source`: scores beyond them have no bucket.
    """
    bps = score * BPS_PER_UNIT
    if config.profile is Profile.SOUND:
        # Sums of quotients are off by a few units in the 16th digit; an exact half must round as one.
        bps = bps.round(HALF_DECIMALS)
    bps = np.rint(bps)
    limit = config.bucket_limit
    missing = np.isnan(bps)
    if config.profile is Profile.SOURCE:
        missing |= np.abs(bps) > limit
    clipped = np.clip(np.where(missing, 0, bps), -limit, limit).astype(np.int8)
    return np.where(missing, np.int8(NO_BUCKET), clipped)


def compute_momentum(closes: Closes, config: ModelConfig) -> Momentum:
    """Compute the momentum of every bar.

    `sound` takes the close exactly k minutes earlier; `source` takes the close k rows earlier, across any gap.
    """
    if config.profile is Profile.SOURCE:
        grid, rows = closes.scaled, np.arange(len(closes))
    else:
        grid, rows = closes.on_grid()
    longest_lag = config.momentum_lags_minutes[-1]
    padded = np.concatenate([np.full(longest_lag, np.nan), grid])
    lagged = np.stack([padded[rows + longest_lag - lag] for lag in config.momentum_lags_minutes])
    score = weighted_return(closes.scaled, lagged, config)
    return Momentum(score * PERCENT_PER_UNIT, bucket_of(score, config))
