"""Parts of the simulated exchange: noise, basis and index, series, and how right its maker is."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_exchange import BTC, ETH, QUARTERS, RANGES, walk

from pipelines.domain.markets.contracts import MarketResult
from pipelines.domain.prices.ticks import milliseconds_of
from pipelines.errors import SettingsError
from pipelines.markets.simulation.configured import configured_series
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.incidents import CALM
from pipelines.markets.simulation.index import Index, PriceHistory
from pipelines.markets.simulation.noise import drift, key_of, normals, uniforms
from pipelines.markets.simulation.series import EASTERN, LONG_HOUR, Series, SeriesKind
from pipelines.settings import load_settings

HOUR = timedelta(hours=1)


def test_noise_is_uniform_normal_and_independent() -> None:
    counters = np.arange(20_000)
    numbers = uniforms(key_of(1, "a"), counters)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.histogram(numbers, 10)[0] == pytest.approx(2_000, rel=0.1)
    normal = normals(key_of(1, "a"), counters)
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.02)
    for other in (normals(key_of(2, "a"), counters), normals(key_of(1, "b"), counters), np.roll(normal, 1)):
        assert abs(np.corrcoef(normal, other)[0, 1]) < 0.02


@given(st.integers(0, 2**40), st.integers(1, 10**7))
def test_a_drift_is_continuous_and_passes_through_its_knots(at_ms: int, knot_ms: int) -> None:
    key = key_of(0, "drift")
    first, second = drift(key, np.array([at_ms, at_ms + 1]), knot_ms)
    assert abs(first - second) < 20 / knot_ms
    knot = at_ms // knot_ms
    assert drift(key, np.array([knot * knot_ms]), knot_ms)[0] == normals(key, np.array([knot]))[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_basis_is_a_few_basis_points_and_returns_to_its_mean(seed: int) -> None:
    hours = np.arange(480_000, 480_000 + 24 * 365)
    bps = Index("BTC", seed, PriceHistory()).basis_bps(hours * 3_600_000)
    assert abs(bps.mean()) < 3
    assert 1.0 < bps.std() < 2.2
    assert abs(bps).max() < 10
    deviations = bps - bps.mean()
    assert np.corrcoef(deviations[:-1], deviations[1:])[0, 1] > 0.85
    assert abs(np.corrcoef(deviations[:-96], deviations[96:])[0, 1]) < 0.15
    minutes = Index("BTC", seed, PriceHistory()).basis_bps(480_000 * 3_600_000 + 60_000 * np.arange(600))
    assert abs(np.diff(minutes)).max() < 0.1, "it changes slowly"
    assert (
        minutes != Index("ETH", seed, PriceHistory()).basis_bps(480_000 * 3_600_000 + 60_000 * np.arange(600))
    ).all()


def test_a_history_keeps_the_last_price_of_each_second_in_order() -> None:
    history = PriceHistory()
    for ticked_ms, price in [(1_000, 1.0), (1_900, 2.0), (1_500, 9.0), (2_000, 3.0), (2_000, 4.0), (5_500, 5.0)]:
        history.add(ticked_ms, price)
    assert history.ticked_ms.tolist() == [1_900, 2_000, 5_500]
    assert history.prices_usd.tolist() == [2.0, 3.0, 5.0]
    history.drop_before(2_000)
    history.add(5_600, 6.0)
    assert (history.ticked_ms.tolist(), history.prices_usd.tolist()) == ([2_000, 5_600], [3.0, 6.0])


def test_volatility_is_that_of_the_prices() -> None:
    begin = datetime(2026, 7, 22, tzinfo=UTC)
    for volatility in (4e-5, 1.5e-4):
        found = [
            Index("BTC", 0, walk(begin, 4_000, seed=seed, volatility=volatility)).volatility(
                milliseconds_of(begin + timedelta(seconds=3_900))
            )
            for seed in range(12)
        ]
        assert np.mean(found) == pytest.approx(volatility, rel=0.15)
    assert Index("BTC", 0, PriceHistory()).volatility(milliseconds_of(begin)) == pytest.approx(7.5e-5)


@pytest.mark.parametrize("series", [BTC, RANGES, QUARTERS], ids=lambda series: series.kind)
def test_tickers_are_of_the_closing_time_and_different_all_year(series: Series) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    closes = list(series.closes(begin, begin + timedelta(days=365)))
    tickers = [series.event_ticker(close) for close in closes]
    assert len(set(tickers)) == len(tickers), "also in the hour that comes twice"
    assert [ticker for ticker in tickers if ticker.endswith("R")], "which is marked"
    assert series.event_ticker(datetime(2026, 7, 22, 18, 0, tzinfo=UTC)).startswith(f"{series.ticker}-26JUL2214")
    for close in closes[:200]:
        life = close - series.opens_at(close)
        is_long = close.astimezone(EASTERN).hour == LONG_HOUR and series.kind is not SeriesKind.QUARTER_HOUR
        usual = timedelta(minutes=15) if series.kind is SeriesKind.QUARTER_HOUR else HOUR
        assert life == (timedelta(hours=25) if is_long else usual)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001 (made aware below)
def test_an_announced_fee_change_comes_true(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    changes_at = ETH.next_fee_change(at)
    assert changes_at is not None
    assert at < changes_at <= at + timedelta(days=31)
    assert ETH.fee_multiplier_at(changes_at - timedelta(seconds=1)) == ETH.fee_multiplier_at(at)
    assert BTC.next_fee_change(at) is None


@pytest.mark.parametrize("tier", ["0.01", "0.015", "0.001"])
def test_strikes_between_the_values_of_the_index_are_refused(tier: str) -> None:
    with pytest.raises(SettingsError, match=f"KXDOGED: strikes {tier} USD apart, expected whole cents"):
        Series("KXDOGED", "DOGE", Decimal(tier))


def test_series_come_from_the_settings() -> None:
    symbols = {"BTC": {"series": ["KXBTCD", "KXBTC"]}, "SOL": {"strike_tier_usd": 1.0}}
    found = configured_series(load_settings(symbols=symbols))
    assert [(one.ticker, one.symbol, one.tier_usd) for one in found] == [
        ("KXBTCD", "BTC", 250),
        ("KXBTC", "BTC", 250),
        ("KXETHD", "ETH", 20),
    ]
    assert [one.fee_multiplier for one in found] == [1, Decimal("0.5"), 1]
    assert [one.fee_change for one in found] == [False, False, True]
    with pytest.raises(SettingsError, match="no series of SOL"):
        configured_series(load_settings(symbols=symbols), ["SOL"])
    with pytest.raises(SettingsError, match="KXBTCD: listed more than once"):
        configured_series(load_settings(symbols={"ETH": {"series": ["KXBTCD"]}}))


def test_the_maker_is_nearly_right_about_normal_prices() -> None:
    """Of 180 events, a quarter of an hour before the close: its forecast errors average to nothing in each group."""
    begin = datetime(2026, 7, 22, 3, 59, tzinfo=UTC)
    forecasts, outcomes = [], []
    for seed in range(30):
        of = SimulatedExchange([BTC], {"BTC": walk(begin, 7 * 3600, seed=seed)}, seed, CALM)
        for hour in range(1, 7):
            close = begin.replace(minute=0) + (hour + 1) * HOUR
            event = next(one for one in of.events(close - HOUR / 2, "KXBTCD") if one.closes_at == close)
            quotes = event.quotes(milliseconds_of(close - HOUR / 4))
            assert quotes is not None
            near = np.flatnonzero((quotes.probabilities > 0.02) & (quotes.probabilities < 0.98))
            states = of.states(event, close + HOUR / 4, near.tolist())
            forecasts += quotes.probabilities[near].tolist()
            outcomes += [state.market.result is MarketResult.YES for state in states]
    forecast, outcome = np.array(forecasts), np.array(outcomes, dtype=float)
    for low, high in ((0.02, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.98)):
        group = (forecast >= low) & (forecast < high)
        error = outcome[group] - forecast[group]
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(group.sum()), (low, high)
    assert np.square(forecast - outcome).mean() < 0.6 * outcome.var()
