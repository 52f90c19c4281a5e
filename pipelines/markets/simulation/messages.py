"""States of the simulated exchange as the exchange's messages of 2026: prices are strings in dollars, counts too."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.prices.ticks import EPOCH, MILLISECOND
from pipelines.markets.simulation.candles import Candle, FourPrices
from pipelines.markets.simulation.events import SETTLEMENT_TIMER_SECONDS, MarketState, SimulatedEvent
from pipelines.markets.simulation.maker import DOLLAR, Level
from pipelines.markets.simulation.series import Series, SeriesKind

Message = dict[str, Any]
EXPECTED_EXPIRATION, LATEST_EXPIRATION = timedelta(minutes=5), timedelta(days=7)
RULES = "Simulated by strikecast: not a market of any exchange, and nothing can be traded."


def exchange_status(*, is_trading: bool) -> Message:
    """Whether the exchange trades; it is always up, or it would not answer."""
    sections = [
        {
            "exchange_index": number,
            "description": description,
            "exchange_active": True,
            "trading_active": is_trading,
            "intra_exchange_transfers_active": True,
        }
        for number, description in ((0, "Default"), (2, "Crypto & Commodities"))
    ]
    return {
        "exchange_active": True,
        "trading_active": is_trading,
        "intra_exchange_transfers_active": True,
        "exchange_index_statuses": sections,
    }


def series_message(series: Series, now: datetime) -> Message:
    """A series with the fee terms in force."""
    frequency = "fifteen_min" if series.kind is SeriesKind.QUARTER_HOUR else "hourly"
    return {
        "ticker": series.ticker,
        "title": f"{series.symbol} {series.kind.replace('_', ' ')} (simulated)",
        "category": "Crypto",
        "frequency": frequency,
        "tags": [series.symbol],
        "contract_url": "",
        "contract_terms_url": "",
        "additional_prohibitions": [],
        "settlement_sources": [{"name": f"strikecast's simulated {series.symbol} index", "url": ""}],
        "fee_type": "quadratic",
        "fee_multiplier": float(series.fee_multiplier_at(now)),
    }


def fee_changes(series: Sequence[Series], now: datetime) -> list[Message]:
    """The announced changes of fee terms."""
    return [
        {
            "id": f"{one.ticker}-{changes_at:%Y%m}",
            "series_ticker": one.ticker,
            "fee_type": "quadratic",
            "fee_multiplier": float(one.fee_multiplier_at(changes_at)),
            "scheduled_ts": _time(changes_at),
        }
        for one in series
        if (changes_at := one.next_fee_change(now)) is not None
    ]


def event_message(event: SimulatedEvent, states: Sequence[MarketState] | None) -> Message:
    """An event, with its markets inside where they are given."""
    title = event.title
    message = {
        "event_ticker": event.ticker,
        "series_ticker": event.series.ticker,
        "title": title,
        "sub_title": title,
        "category": "Crypto",
        "collateral_return_type": "MECNET" if event.series.kind is SeriesKind.RANGE else "DIRECNET",
        "mutually_exclusive": event.series.kind is SeriesKind.RANGE,
        "available_on_brokers": False,
        "strike_date": _time(event.closes_at),
        "strike_period": "",
    }
    return message if states is None else {**message, "markets": [market_message(state, event) for state in states]}


def market_message(state: MarketState, event: SimulatedEvent) -> Message:
    """A market as in lists and in the answer for one."""
    market, close = state.market, state.market.closes_at
    yes_bid, yes_size = _first(state.yes_bids)
    no_bid, no_size = _first(state.no_bids)
    middle = (yes_bid + DOLLAR - no_bid) // 200 * 100 if state.yes_bids and state.no_bids else 0
    words, settles = _words(market), _settlement(state)
    message = {
        "ticker": market.ticker,
        "event_ticker": market.event_ticker,
        "market_type": "binary",
        "title": event.title,
        "subtitle": words,
        "yes_sub_title": words,
        "no_sub_title": words,
        "created_time": _time(market.opens_at),
        "updated_time": _time(min(close, EPOCH + event.opens_ms * MILLISECOND)),
        "open_time": _time(market.opens_at),
        "close_time": _time(close),
        "expected_expiration_time": _time(event.closes_at + EXPECTED_EXPIRATION),
        "expiration_time": _time(event.closes_at + LATEST_EXPIRATION),
        "latest_expiration_time": _time(event.closes_at + LATEST_EXPIRATION),
        "settlement_timer_seconds": SETTLEMENT_TIMER_SECONDS,
        "status": str(market.status),
        "response_price_units": "usd_cent",
        "notional_value_dollars": "1.0000",
        "price_level_structure": event.series.price_level_structure,
        "price_ranges": [
            {"start": f"{each.start:.4f}", "end": f"{each.end:.4f}", "step": f"{each.step:.4f}"}
            for each in market.price_ranges
        ],
        "tick_size": 1,
        "yes_bid_dollars": _dollars(yes_bid),
        "yes_ask_dollars": _dollars(DOLLAR - no_bid),
        "no_bid_dollars": _dollars(no_bid),
        "no_ask_dollars": _dollars(DOLLAR - yes_bid),
        "yes_bid_size_fp": _count(yes_size),
        "yes_ask_size_fp": _count(no_size),
        "last_price_dollars": _dollars(middle if state.volume else 0),
        "previous_yes_bid_dollars": "0.0000",
        "previous_yes_ask_dollars": "0.0000",
        "previous_price_dollars": "0.0000",
        "volume_fp": _count(state.volume),
        "volume_24h_fp": _count(state.volume),
        "liquidity_dollars": "0.0000",
        "open_interest_fp": _count(state.open_interest),
        "fractional_trading_enabled": False,
        "can_close_early": True,
        "strike_type": str(market.strike_type),
        "rules_primary": RULES,
        "rules_secondary": "",
    }
    strikes = {"floor_strike": market.floor_strike, "cap_strike": market.cap_strike}
    return message | {name: float(strike) for name, strike in strikes.items() if strike is not None} | settles


def book_message(state: MarketState, depth: int = 0) -> Message:
    """The bids of both sides, the lowest first; the best `depth` of each, or all."""
    sides = {"yes_dollars": state.yes_bids, "no_dollars": state.no_bids}
    return {
        "orderbook_fp": {
            name: [[_dollars(price), _count(contracts)] for price, contracts in reversed(levels[: depth or None])]
            for name, levels in sides.items()
        }
    }


def candle_message(candle: Candle) -> Message:
    """A candle, by the end of its period."""
    price = dict.fromkeys(("open_dollars", "low_dollars", "high_dollars", "close_dollars", "mean_dollars"), None)
    if candle.price is not None:
        price = {**_prices(candle.price), "mean_dollars": _dollars((candle.price.high + candle.price.low) // 2)}
    return {
        "end_period_ts": candle.end_ms // 1_000,
        "yes_bid": _prices(candle.bid),
        "yes_ask": _prices(candle.ask),
        "price": {**price, "previous_dollars": None if candle.previous is None else _dollars(candle.previous)},
        "volume_fp": _count(candle.volume),
        "open_interest_fp": _count(candle.open_interest),
    }


def cutoff_message(cutoff: datetime) -> Message:
    """Where the historical part begins, which is empty."""
    return dict.fromkeys(("market_settled_ts", "orders_updated_ts", "trades_created_ts"), _time(cutoff))


def _settlement(state: MarketState) -> Message:
    market = state.market
    value = "" if state.index_value_usd is None else f"{state.index_value_usd:.2f}"
    message: Message = {"result": "" if market.result is None else str(market.result), "expiration_value": value}
    if market.result in {MarketResult.YES, MarketResult.NO}:
        message["settlement_value_dollars"] = f"{market.settlement_value:.4f}"
    if market.status is MarketStatus.FINALIZED:
        message["settlement_ts"] = _time(market.closes_at + timedelta(seconds=SETTLEMENT_TIMER_SECONDS))
    return message


def _words(market: Market) -> str:
    lower, upper = market.bounds_usd()
    if market.strike_type is StrikeType.BETWEEN:
        return f"{_usd(market.floor_strike)} to {_usd(market.cap_strike)}"
    return f"{_usd(lower)} or above" if lower is not None else f"below {_usd(upper)}"


def _usd(value: Decimal | None) -> str:
    assert value is not None
    return f"${value:,.2f}".removesuffix(".00")


def _prices(prices: FourPrices) -> Message:
    return {f"{name}_dollars": _dollars(getattr(prices, name)) for name in ("open", "low", "high", "close")}


def _first(levels: Sequence[Level]) -> Level:
    return levels[0] if levels else (0, 0.0)


def _dollars(price: int) -> str:
    return f"{price / DOLLAR:.4f}"


def _count(contracts: float) -> str:
    return f"{contracts:.2f}"


@lru_cache(maxsize=1024)
def _time(at: datetime) -> str:
    text = at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds")
    return text.replace("+00:00", "Z")
