"""The markets of an event: strikes around the value of the index at its open, and their tickers."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from pipelines.domain.markets.contracts import INDEX_STEP_USD, Market, MarketStatus, StrikeType
from pipelines.markets.simulation.noise import key_of, uniform
from pipelines.markets.simulation.series import HOUR, Series, SeriesKind

#: Strikes of an hour's event, from and to; and those of an event that is open for longer.
HOUR_STRIKES = (40, 60)
LONG_STRIKES = 75


@dataclass(frozen=True)
class EventTimes:
    """An event: its ticker, when it opens, and its scheduled close (aware UTC)."""

    ticker: str
    opens_at: datetime
    closes_at: datetime


def markets_of(series: Series, times: EventTimes, reference_usd: Decimal, seed: int) -> tuple[Market, ...]:
    """The markets of an event, in the order of their strikes.

    `reference_usd`: the index at the open; of quarter-hours, the value that the market before settled on.
    """
    if series.kind is SeriesKind.QUARTER_HOUR:
        suffix = f"{times.closes_at:%M}"
        return (_market(series, times, suffix, StrikeType.GREATER_OR_EQUAL, reference_usd, None),)
    tier = series.tier_usd
    fewest, most = HOUR_STRIKES
    count = fewest + int(uniform(key_of(seed, "strikes", times.ticker)) * (most - fewest + 1))
    if times.closes_at - times.opens_at > HOUR:
        count = LONG_STRIKES
    nearest = (reference_usd / tier).to_integral_value(ROUND_HALF_EVEN)
    strikes = [(nearest + offset - count // 2) * tier for offset in range(count)]
    strikes = [strike for strike in strikes if strike > INDEX_STEP_USD]
    build = _ladder if series.kind is SeriesKind.LADDER else _ranges
    return tuple(build(series, times, strikes))


def _ladder(series: Series, times: EventTimes, strikes: list[Decimal]) -> Iterator[Market]:
    """Above each strike less a cent, which is at or above the strike."""
    for strike in strikes:
        floor = strike - INDEX_STEP_USD
        yield _market(series, times, f"T{_plain(floor)}", StrikeType.GREATER, floor, None)


def _ranges(series: Series, times: EventTimes, strikes: list[Decimal]) -> Iterator[Market]:
    """Below the lowest strike, from each strike to a cent below the next one, and at or above the highest."""
    yield _market(series, times, f"T{_plain(strikes[0])}", StrikeType.LESS, None, strikes[0])
    for low, high in pairwise(strikes):
        suffix = f"B{_plain((low + high) / 2)}"
        yield _market(series, times, suffix, StrikeType.BETWEEN, low, high - INDEX_STEP_USD)
    floor = strikes[-1] - INDEX_STEP_USD
    yield _market(series, times, f"T{_plain(floor)}", StrikeType.GREATER, floor, None)


def _market(
    series: Series, times: EventTimes, suffix: str, kind: StrikeType, floor: Decimal | None, cap: Decimal | None
) -> Market:
    return Market(
        ticker=f"{times.ticker}-{suffix}",
        event_ticker=times.ticker,
        series_ticker=series.ticker,
        strike_type=kind,
        floor_strike=floor,
        cap_strike=cap,
        opens_at=times.opens_at,
        closes_at=times.closes_at,
        price_ranges=series.price_ranges,
        status=MarketStatus.ACTIVE,
    )


def _plain(number: Decimal) -> str:
    """Without an exponent and zeros at the end: 118499.99, 80150."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
