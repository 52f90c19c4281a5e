"""The basis from an index, from settled values and from quotes: drifts are followed, errors of a feed are not."""

from datetime import UTC, datetime, timedelta
from math import erf, sqrt

import numpy as np
import pytest

from pipelines.domain.markets.basis import (
    GRID_BPS,
    MAX_AGE,
    Basis,
    BasisSource,
    NoBasis,
    QuotedBasis,
    basis_of_index,
    basis_of_settled,
    choose_basis,
)

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp()) * 1000
PRICE = 100_000.0
SECOND_MS = 1_000
HOUR_MS = 3_600_000


def walk(n: int, step_bps: float = 0.5, seed: int = 1) -> np.ndarray:
    """Our price each second, USD."""
    return PRICE * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, step_bps / 1e4, n)))


def seconds(n: int) -> np.ndarray:
    """The last seconds up to now, milliseconds."""
    return NOW_MS - SECOND_MS * np.arange(n - 1, -1, -1)


def indexed(prices: np.ndarray, bps: float | np.ndarray) -> np.ndarray:
    return np.asarray(prices * np.exp(np.asarray(bps) / 1e4))


def estimate(found: Basis | NoBasis) -> Basis:
    assert isinstance(found, Basis), found
    return found


def refusal(found: Basis | NoBasis) -> str:
    assert isinstance(found, NoBasis), found
    return found.reason


def test_the_index_gives_its_log_ratio_to_our_price() -> None:
    prices = walk(600)
    found = estimate(basis_of_index(seconds(600), indexed(prices, 3.2), prices))
    assert (found.source, found.at) == (BasisSource.INDEX, NOW)
    assert found.bps == pytest.approx(3.2)


def test_the_index_is_followed_within_a_minute() -> None:
    prices = walk(600)
    drifted = np.where(np.arange(600) < 540, 1.0, 4.0)
    assert estimate(basis_of_index(seconds(600), indexed(prices, drifted), prices)).bps == pytest.approx(4.0)


def test_single_values_that_jump_do_not_move_the_index_basis() -> None:
    prices = walk(600)
    values = indexed(prices, 2.0 + np.random.default_rng(2).normal(0, 0.5, 600))
    before = estimate(basis_of_index(seconds(600), values, prices)).bps
    for second in (-1, -7, -20, -40):
        values[second] *= 1.3
    assert estimate(basis_of_index(seconds(600), values, prices)).bps == pytest.approx(before, abs=0.1)


def test_an_index_that_jumps_and_stays_is_refused() -> None:
    prices = walk(600)
    values = indexed(prices, np.where(np.arange(600) < 540, 2.0, 22.0))
    assert "a jump from 2.0 bps" in refusal(basis_of_index(seconds(600), values, prices))


@pytest.mark.parametrize("frozen_seconds", [20, 45, 300, 599])
def test_a_frozen_index_is_refused(frozen_seconds: int) -> None:
    prices = walk(600)
    values = indexed(prices, 2.0)
    values[-frozen_seconds:] = values[-frozen_seconds]
    assert "unchanged for" in refusal(basis_of_index(seconds(600), values, prices))


def test_an_index_that_rests_with_our_price_is_not_frozen() -> None:
    prices = walk(600)
    prices[-300:] = prices[-301]
    values = indexed(prices, 2.0)
    assert estimate(basis_of_index(seconds(600), values, prices)).bps == pytest.approx(2.0)
    prices[-20:] *= 1.00005  # half a basis point, for 20 s
    values[-50:] *= 1.00001
    assert estimate(basis_of_index(seconds(600), values, prices)).bps == pytest.approx(2.1, abs=0.1)


@pytest.mark.parametrize("bps", [-60.0, 60.0, 5_000.0])
def test_an_incredible_index_is_refused(bps: float) -> None:
    prices = walk(600)
    assert "at most 50 are credible" in refusal(basis_of_index(seconds(600), indexed(prices, bps), prices))


def test_index_values_without_a_price_of_ours_do_not_count() -> None:
    prices = walk(600)
    values = indexed(prices, 2.0)
    prices[-60:] = np.nan
    found = estimate(basis_of_index(seconds(600), values, prices))
    assert found.at == NOW - timedelta(seconds=60)
    prices[:] = np.nan
    assert refusal(basis_of_index(seconds(600), values, prices)).startswith("0 values")
    assert refusal(basis_of_index(seconds(2), values[-2:], values[-2:])).startswith("2 values")
    assert refusal(basis_of_index(seconds(0), values[:0], values[:0])).startswith("0 values")
    assert refusal(basis_of_index(seconds(3), np.array([np.nan, 0.0, np.inf]), values[-3:])).startswith("0 values")


def closes(n: int) -> np.ndarray:
    return NOW_MS - HOUR_MS * np.arange(n - 1, -1, -1)


def test_settled_values_weigh_half_each_hour() -> None:
    means = walk(3, 30.0)
    values = indexed(means, np.array([4.0, 1.0, 2.0]))
    found = estimate(basis_of_settled(closes(3), values, means))
    assert (found.source, found.at) == (BasisSource.SETTLED, NOW)
    assert found.bps == pytest.approx((4.0 * 0.25 + 1.0 * 0.5 + 2.0) / 1.75)


def test_a_settled_value_that_jumps_does_not_count() -> None:
    means = walk(6, 30.0)
    values = indexed(means, 2.0)
    values[-1] *= 1.002
    found = estimate(basis_of_settled(closes(6), values, means))
    assert found.bps == pytest.approx(2.0)
    assert found.at == NOW - timedelta(hours=1)


def test_settled_values_that_are_repeated_do_not_count_and_age() -> None:
    means = walk(12, 1.0)
    values = indexed(means, 2.0)
    values[-8:] = values[-9]
    found = basis_of_settled(closes(12), values, means)
    assert estimate(found).at == NOW - timedelta(hours=8)
    assert choose_basis([found], NOW).reasons == ("settled: 480 min old, at most 360 are used",)


def test_settled_values_without_use_are_refused() -> None:
    means = walk(2, 30.0)
    assert "none of a minute" in refusal(basis_of_settled(closes(2), means, np.full(2, np.nan)))
    assert "more than 50 bps away" in refusal(basis_of_settled(closes(2), indexed(means, 80.0), means))
    contradicting = indexed(means, np.array([-20.0, 20.0]))
    assert "contradict each other" in refusal(basis_of_settled(closes(2), contradicting, means))
    assert refusal(basis_of_settled(closes(0), means[:0], means[:0])).startswith("0 settled values")


def ladder(price: float, basis_bps: float, strikes: np.ndarray) -> np.ndarray:
    """P(index above each strike) by a normal distribution of 20 bps."""
    z = np.log(price * np.exp(basis_bps / 1e4) / strikes) / 20e-4
    return np.array([0.5 * (1 + erf(one / sqrt(2))) for one in z])


STRIKES = PRICE * np.exp(np.arange(-30, 31, 6) / 1e4)


def quote_minutes(
    quoted: QuotedBasis, prices: np.ndarray, basis_bps: np.ndarray, start: datetime = NOW, noise: float = 0.02
) -> None:
    """Quotes by a basis for minutes from `start`."""
    generator = np.random.default_rng(3)
    for minute, (price, basis) in enumerate(zip(prices, basis_bps, strict=True)):
        mid = np.clip(ladder(price, basis, STRIKES) + generator.normal(0, noise, len(STRIKES)), 0.03, 0.97)
        shifted = np.stack([ladder(price, b, STRIKES) for b in GRID_BPS])
        quoted.add(start + minute * timedelta(minutes=1), price, shifted, mid - 0.01, mid + 0.01)


@pytest.mark.parametrize("bps", [-7.3, 0.0, 2.2])
def test_quotes_give_the_basis_that_they_were_made_with(bps: float) -> None:
    quoted = QuotedBasis()
    quote_minutes(quoted, walk(120, 3.0), np.full(120, bps))
    found = estimate(quoted.estimate())
    assert (found.source, found.at) == (BasisSource.QUOTES, NOW + timedelta(minutes=119))
    assert found.bps == pytest.approx(bps, abs=0.3)


def test_old_quotes_lose_half_of_their_weight_in_a_half_life() -> None:
    quoted = QuotedBasis(timedelta(minutes=30))
    quote_minutes(quoted, walk(300, 0.5), np.where(np.arange(300) < 200, -4.0, 3.0))
    assert estimate(quoted.estimate()).bps == pytest.approx(3.0, abs=1.0)


def test_the_sums_are_those_of_all_past_minutes() -> None:
    """Updated minute by minute, as by the formula over everything."""
    prices, half_life = walk(40, 3.0), timedelta(minutes=10)
    quoted, sums = QuotedBasis(half_life), np.zeros(len(GRID_BPS))
    for minute, price in enumerate(prices):
        mid = ladder(price, 2.0, STRIKES)
        shifted = np.stack([ladder(price, b, STRIKES) for b in GRID_BPS])
        quoted.add(NOW + minute * timedelta(minutes=1), price, shifted, mid - 0.01, mid + 0.01)
        counted = (mid > 0.01) & (mid < 0.99)
        sums += 2.0 ** ((minute - 39) / 10) * np.square(shifted - mid)[:, counted].sum(axis=1)
    least = int(sums.argmin())
    vertex = (sums[least - 1] - sums[least + 1]) / (sums[least - 1] - 2 * sums[least] + sums[least + 1]) / 2
    assert estimate(quoted.estimate()).bps == pytest.approx(GRID_BPS[least] + 0.5 * vertex)


def test_a_minute_of_wrong_quotes_hardly_moves_the_basis() -> None:
    prices = walk(241, 3.0)
    quoted = QuotedBasis()
    quote_minutes(quoted, prices[:240], np.full(240, 1.0))
    before = estimate(quoted.estimate()).bps
    wrong = np.full(len(STRIKES), 0.9)
    shifted = np.stack([ladder(prices[-1], b, STRIKES) for b in GRID_BPS])
    quoted.add(NOW + timedelta(minutes=240), prices[-1], shifted, wrong - 0.01, wrong + 0.01)
    assert estimate(quoted.estimate()).bps == pytest.approx(before, abs=0.5)


def test_frozen_quotes_do_not_count_and_age() -> None:
    prices = walk(400, 3.0)
    quoted = QuotedBasis()
    quote_minutes(quoted, prices[:120], np.full(120, 1.0))
    found = estimate(quoted.estimate())
    bid = ladder(prices[119], 1.0, STRIKES)
    for minute in range(120, 400):
        shifted = np.stack([ladder(prices[minute], b, STRIKES) for b in GRID_BPS])
        quoted.add(NOW + minute * timedelta(minutes=1), prices[minute], shifted, bid - 0.01, bid + 0.01)
    after = estimate(quoted.estimate())
    assert after.at <= found.at + timedelta(minutes=3)
    assert after.bps == pytest.approx(found.bps, abs=0.5)
    quote_minutes(quoted, prices[:60], np.full(60, 1.0), NOW + timedelta(minutes=400))
    assert estimate(quoted.estimate()).at == NOW + timedelta(minutes=459)


def test_quotes_without_use_are_refused() -> None:
    quoted = QuotedBasis()
    nothing, full = np.zeros(len(STRIKES)), np.ones(len(STRIKES))
    shifted = np.stack([ladder(PRICE, b, STRIKES) for b in GRID_BPS])
    mid = ladder(PRICE, 0.0, STRIKES)
    without_use = [(nothing, mid + 0.01), (mid - 0.01, full), (mid - 0.15, mid + 0.15), (nothing * np.nan, mid)]
    for minute, (bids, asks) in enumerate(without_use * 30):
        quoted.add(NOW + minute * timedelta(minutes=1), PRICE + minute, shifted, bids, asks)
    assert refusal(quoted.estimate()) == "0 quotes, expected 100 or more"
    quote_minutes(quoted, walk(1), np.zeros(1), NOW + timedelta(hours=3))
    with pytest.raises(ValueError, match="expected later ones"):
        quote_minutes(quoted, walk(1), np.zeros(1))
    far = QuotedBasis()
    quote_minutes(far, walk(60, 3.0), np.full(60, 25.0))
    assert refusal(far.estimate()) == "at or beyond 10 bps, the end of the grid"


def test_quotes_of_far_strikes_show_no_basis() -> None:
    quoted = QuotedBasis()
    flat, mid = np.full((len(GRID_BPS), 20), 0.0001), np.full(20, 0.015)
    for minute in range(20):
        quoted.add(NOW + minute * timedelta(minutes=1), PRICE + minute, flat, mid - 0.005, mid + 0.005)
    assert isinstance(quoted.estimate(), NoBasis)


def of(source: BasisSource, age: timedelta, bps: float = 1.0) -> Basis:
    return Basis(bps, source, NOW - age)


def test_the_index_comes_before_quotes_and_quotes_before_settled_values() -> None:
    recent = timedelta(minutes=1)
    index, quotes, settled = (of(source, recent) for source in MAX_AGE)
    assert choose_basis([settled, quotes, index], NOW).basis == index
    assert choose_basis([settled, quotes, NoBasis(BasisSource.INDEX, "unchanged for 20 s")], NOW).basis == quotes
    assert choose_basis([settled], NOW).basis == settled
    refused = choose_basis([NoBasis(BasisSource.INDEX, "unchanged for 20 s"), settled], NOW)
    assert (refused.basis, refused.reasons) == (settled, ("index: unchanged for 20 s",))
    assert choose_basis([], NOW).basis is None


@pytest.mark.parametrize("source", MAX_AGE)
def test_an_old_basis_is_refused(source: BasisSource) -> None:
    assert choose_basis([of(source, MAX_AGE[source])], NOW).basis is not None
    old = choose_basis([of(source, MAX_AGE[source] + timedelta(minutes=1))], NOW)
    assert old.basis is None
    assert "min old, at most" in old.reasons[0]


def test_a_basis_from_the_future_is_refused() -> None:
    assert choose_basis([of(BasisSource.QUOTES, -timedelta(minutes=2))], NOW).reasons == ("quotes: dated 2 min ahead",)
