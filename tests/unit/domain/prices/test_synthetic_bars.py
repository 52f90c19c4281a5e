"""Synthetic bars: shape, and statistics against the parameters of the process."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.invariants import find_gaps
from pipelines.domain.prices.bars import Floats, closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import START_PRICES_USD, SimulationParameters, SyntheticBars, generate_bars

END = 29_500_000
PARAMETERS = SimulationParameters(100_000.0)
#: Constant volatility without jumps and gaps, so that moments are known.
PLAIN = SimulationParameters(
    100_000.0, slow_log_sd=0.0, fast_log_sd=0.0, season_log_depth=0.0, jumps_per_day=0.0, gaps_per_day=0.0
)


@pytest.fixture(scope="module")
def bars() -> SyntheticBars:
    return generate_bars(PARAMETERS, 180, END, 1)


@pytest.fixture(scope="module")
def plain() -> SyntheticBars:
    return generate_bars(PLAIN, 120, END, 2)


def _columns(bars: SyntheticBars) -> list[Floats]:
    return [bars.open, bars.high, bars.low, bars.close]


def _autocorrelation(values: Floats, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


def test_the_seed_determines_the_bars() -> None:
    first, again, other = (generate_bars(PARAMETERS, 3, END, seed) for seed in (4, 4, 5))
    for name in ("minutes", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.close[:1000], other.close[:1000])


def test_the_bars_end_at_the_minute_before_the_end(bars: SyntheticBars) -> None:
    assert (bars.minutes[0], bars.minutes[-1]) == (END - 180 * 1440, END - 1)
    assert (np.diff(bars.minutes) > 0).all()
    assert len({len(column) for column in (bars.minutes, bars.volume, *_columns(bars))}) == 1


def test_high_and_low_enclose_open_and_close(bars: SyntheticBars) -> None:
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.low > 0).all()
    assert (bars.volume > 0).all()
    assert (bars.high > np.maximum(bars.open, bars.close)).mean() > 0.9


def test_prices_are_whole_cents(bars: SyntheticBars) -> None:
    for column in _columns(bars):
        assert closes_from_usd(bars.minutes, column).scale == 100


def test_a_bar_opens_where_the_one_before_it_closed(bars: SyntheticBars) -> None:
    adjacent = np.diff(bars.minutes) == 1
    np.testing.assert_array_equal(bars.open[1:][adjacent], bars.close[:-1][adjacent])
    assert bars.open[0] == PARAMETERS.start_price_usd


def test_the_number_and_length_of_gaps_follow_the_parameters() -> None:
    gappy = generate_bars(replace(PARAMETERS, gaps_per_day=2.0), 180, END, 1)
    lengths = [gap.missing_minutes for gap in find_gaps(gappy.minutes)]
    assert len(lengths) == pytest.approx(360, abs=4 * 360**0.5)
    assert np.mean(lengths) == pytest.approx(45.0, rel=0.25)
    assert find_gaps(generate_bars(replace(PARAMETERS, gaps_per_day=0.0), 5, END, 1).minutes) == []


def test_the_default_bars_have_gaps(bars: SyntheticBars) -> None:
    assert 1 <= len(find_gaps(bars.minutes)) <= 25


def test_the_price_keeps_moving_during_a_gap() -> None:
    gappy = generate_bars(replace(PARAMETERS, gaps_per_day=2.0), 60, END, 3)
    across = np.diff(gappy.minutes) > 10
    jumps = np.abs(np.log(gappy.open[1:] / gappy.close[:-1]))[across]
    assert np.median(jumps) > 3 * PARAMETERS.sigma_per_minute


def test_there_is_no_drift(bars: SyntheticBars) -> None:
    returns = np.log(bars.close / bars.open)
    assert abs(returns.mean()) < 3 * returns.std() / len(returns) ** 0.5


def test_there_is_no_momentum(bars: SyntheticBars) -> None:
    closes = closes_from_usd(bars.minutes, bars.close)
    score = compute_momentum(closes, ModelConfig()).score_pct[:-1]
    following = np.where(np.diff(bars.minutes) == 1, np.diff(np.log(bars.close)), np.nan)
    known = ~np.isnan(score) & ~np.isnan(following)
    # White's standard error of the slope: volatility clusters, so the plain one would be too small.
    x, y = score[known], following[known]
    slope, error = (x * y).sum() / (x * x).sum(), ((x * y) ** 2).sum() ** 0.5 / (x * x).sum()
    assert abs(slope) < 3 * error
    assert error * x.std() < 0.01 * y.std(), "there are enough bars to detect a correlation of 3 %"


def test_volatility_clusters_for_minutes_and_for_days(bars: SyntheticBars) -> None:
    size = np.abs(np.log(bars.close / bars.open))
    noise = 1 / len(size) ** 0.5
    assert all(_autocorrelation(size, lag) > 20 * noise for lag in (1, 10, 30, 1440))
    assert _autocorrelation(size, 1) > _autocorrelation(size, 240) > _autocorrelation(size, 5 * 1440)


def test_without_clusters_season_and_jumps_volatility_is_constant(plain: SyntheticBars) -> None:
    returns = np.log(plain.close / plain.open)
    assert returns.std() == pytest.approx(PLAIN.sigma_per_minute, rel=0.01)
    assert abs(_autocorrelation(np.abs(returns), 1)) < 4 / len(returns) ** 0.5
    kurtosis = ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2
    assert kurtosis == pytest.approx(3.0, abs=0.1)


def test_volatility_clusters_have_the_strength_and_length_of_the_parameters() -> None:
    clustered = generate_bars(replace(PLAIN, fast_log_sd=0.30, fast_half_life_minutes=30.0), 200, END, 8)
    returns = np.log(clustered.close / clustered.open)
    kurtosis = (returns**4).mean() / (returns**2).mean() ** 2
    assert kurtosis == pytest.approx(3 * np.exp(4 * 0.30**2), rel=0.08)
    log_size = np.log(np.maximum(np.abs(returns), 1e-8))
    assert np.cov(log_size[:-30], log_size[30:])[0, 1] == pytest.approx(0.30**2 / 2, rel=0.2)


def test_highs_and_lows_are_distributed_as_brownian_extremes(plain: SyntheticBars) -> None:
    # The maximum of a Brownian motion over a minute is distributed as |N(0, sigma^2)|.
    for reach in (np.log(plain.high / plain.open), -np.log(plain.low / plain.open)):
        scaled = reach / PLAIN.sigma_per_minute
        assert scaled.mean() == pytest.approx((2 / np.pi) ** 0.5, rel=0.01)
        assert (scaled**2).mean() == pytest.approx(1.0, rel=0.02)


def test_the_day_is_most_volatile_at_15_utc_and_calmest_at_3() -> None:
    seasonal = generate_bars(replace(PLAIN, season_log_depth=0.35), 120, END, 6)
    hours = (seasonal.minutes % 1440) // 60
    size = np.array([np.log(seasonal.close / seasonal.open)[hours == hour].std() for hour in range(24)])
    assert np.argmax(size) in {14, 15}
    assert np.argmin(size) in {2, 3}
    assert np.log(size.max() / size.min()) == pytest.approx(0.70, abs=0.06)


def test_jumps_have_the_rate_and_size_of_the_parameters() -> None:
    jumpy = generate_bars(replace(PLAIN, jumps_per_day=2.0, jump_sd=0.05), 200, END, 7)
    returns = np.log(jumpy.close / jumpy.open)
    seen = returns[np.abs(returns) > 6 * PLAIN.sigma_per_minute]
    share = 0.9426  # P(|N(0, 0.05^2)| > 6 x 6e-4)
    assert len(seen) == pytest.approx(400 * share, abs=4 * 400**0.5)
    assert seen.std() == pytest.approx(0.05 / share**0.5, rel=0.15)


def test_the_demonstration_symbols_are_btc_and_eth() -> None:
    assert list(START_PRICES_USD) == ["BTC", "ETH"]


@pytest.mark.parametrize("days", [0, -1])
def test_zero_or_negative_days_are_rejected(days: int) -> None:
    with pytest.raises(ValueError, match="days must be 1 or more"):
        generate_bars(PARAMETERS, days, END, 1)
