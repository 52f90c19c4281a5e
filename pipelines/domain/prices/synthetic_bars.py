"""Synthetic minute bars from a known process, for demonstrations and tests.

The log price moves each minute by sigma_t * z_t plus occasional jumps:

- sigma_t = sigma * exp(slow_t + fast_t) * season(minute of day), where `slow` and `fast` are Ornstein-Uhlenbeck
  processes with half-lives of two days and half an hour, so that volatility clusters as in real markets;
- season is a cosine over the day with its peak at 15:00 UTC and an amplitude of 0.35 in log terms;
- jumps arrive at a constant rate and are normal with mean 0 (`SimulationParameters` holds the values);
- z_t is standard normal and independent of everything else: there is no drift and no momentum. Any direction in a
  fingerprint of these bars is noise; wider distributions in buckets -30 and 30 reflect volatility.

High and low are drawn independently from the distribution of a Brownian bridge's extremes between open and close. Gaps
remove runs of minutes; the price keeps moving during a gap.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats, Ints


@dataclass(frozen=True)
class SimulationParameters:
    """Parameters of the process: rates per day, sigmas as fractions per square root of a minute."""

    start_price_usd: float
    sigma_per_minute: float = 6.0e-4
    slow_log_sd: float = 0.40
    slow_half_life_minutes: float = 2 * MINUTES_PER_DAY
    fast_log_sd: float = 0.30
    fast_half_life_minutes: float = 30.0
    season_log_depth: float = 0.35
    season_peak_minute: int = 15 * 60
    jumps_per_day: float = 1.0
    jump_sd: float = 4.0e-3
    gaps_per_day: float = 0.05
    mean_gap_minutes: float = 45.0


#: Start prices of the demonstration symbols; other symbols start at 100 USD.
START_PRICES_USD = {"BTC": 100_000.0, "ETH": 3_500.0}


@dataclass(frozen=True)
class SyntheticBars:
    """Synthetic bars, oldest first.

    `minutes`: int64[n] since 1970-01-01 UTC; prices: float64[n] USD, in whole cents; `volume`: float64[n], in coins.
    """

    minutes: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def frame(self) -> pl.DataFrame:
        """The bars as columns timestamp (UTC), open, high, low, close, volume: the shape that ingestion reads."""
        timestamp = (pl.Series(self.minutes) * 60_000_000).cast(pl.Datetime("us", "UTC"))
        prices = {name: getattr(self, name) for name in ("open", "high", "low", "close", "volume")}
        return pl.DataFrame({"timestamp": timestamp, **prices})


def generate_bars(parameters: SimulationParameters, days: int, end_minute: int, seed: int) -> SyntheticBars:
    """Generate `days` days of bars up to the minute before `end_minute` (since 1970-01-01 UTC); the seed fixes them.

    Raises ValueError when `days` is not positive.
    """
    if days < 1:
        raise ValueError(f"days must be 1 or more, not {days}")
    rng = np.random.default_rng(seed)
    n = days * MINUTES_PER_DAY
    minutes = np.arange(end_minute - n, end_minute, dtype=np.int64)
    sigma = _sigma(parameters, minutes, rng)
    has_jump = rng.random(n) < parameters.jumps_per_day / MINUTES_PER_DAY
    jumps = np.where(has_jump, rng.normal(0.0, parameters.jump_sd, n), 0.0)
    steps = sigma * rng.standard_normal(n) + jumps
    log_close = np.cumsum(steps)
    log_open = np.concatenate([[0.0], log_close[:-1]])
    high, low = _bridge_extremes(log_open, log_close, sigma, rng)
    cents = [np.round(parameters.start_price_usd * np.exp(log), 2) for log in (log_open, high, low, log_close)]
    volume = np.round(rng.lognormal(2.0, 0.7, n) * (1.0 + np.abs(steps) / parameters.sigma_per_minute), 4)
    kept = _outside_gaps(parameters, n, rng)
    opens, highs, lows, closes = (column[kept] for column in cents)
    return SyntheticBars(minutes[kept], opens, highs, lows, closes, volume[kept])


def _sigma(parameters: SimulationParameters, minutes: Ints, rng: np.random.Generator) -> Floats:
    log_sigma = np.zeros(len(minutes))
    for sd, half_life in (
        (parameters.slow_log_sd, parameters.slow_half_life_minutes),
        (parameters.fast_log_sd, parameters.fast_half_life_minutes),
    ):
        log_sigma += _ornstein_uhlenbeck(sd, half_life, len(minutes), rng)
    phase = 2 * np.pi * ((minutes % MINUTES_PER_DAY) - parameters.season_peak_minute) / MINUTES_PER_DAY
    return parameters.sigma_per_minute * np.exp(log_sigma + parameters.season_log_depth * np.cos(phase))


def _ornstein_uhlenbeck(sd: float, half_life: float, n: int, rng: np.random.Generator) -> Floats:
    decay = 0.5 ** (1.0 / half_life)
    shocks = rng.normal(0.0, sd * np.sqrt(1.0 - decay**2), n)
    level = rng.normal(0.0, sd)
    levels = np.empty(n)
    for i, shock in enumerate(shocks.tolist()):
        level = decay * level + shock
        levels[i] = level
    return levels


def _bridge_extremes(start: Floats, end: Floats, sigma: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Maximum and minimum of Brownian bridges: start + (x + sqrt(x^2 - 2 sigma^2 ln U)) / 2 with x = end - start."""
    x = end - start
    up, down = (-2.0 * sigma**2 * np.log(1.0 - rng.random(len(x))) for _ in range(2))
    return start + (x + np.sqrt(x**2 + up)) / 2, start + (x - np.sqrt(x**2 + down)) / 2


def _outside_gaps(parameters: SimulationParameters, n: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    kept = np.ones(n, dtype=np.bool_)
    for start in np.flatnonzero(rng.random(n) < parameters.gaps_per_day / MINUTES_PER_DAY).tolist():
        kept[start : start + int(rng.geometric(1.0 / parameters.mean_gap_minutes))] = False
    kept[[0, -1]] = True
    return kept
