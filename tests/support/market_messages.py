"""Messages of the exchange of markets, in the shapes of 2025 (integer cents) and 2026 (strings in dollars)."""

from typing import Any

EVENT = "KXBTCD-26MAR2106"
#: End of the first minute of its markets, in Unix seconds: 2026-03-21 09:01 UTC.
FIRST_MINUTE = 1_774_083_660


def ticker(strike: str = "80199.99", event: str = EVENT) -> str:
    return f"{event}-T{strike}"


def common(strike: str = "80199.99", event: str = EVENT) -> dict[str, Any]:
    return {
        "ticker": ticker(strike, event),
        "event_ticker": event,
        "market_type": "binary",
        "title": "",
        "open_time": "2026-03-21T09:00:00Z",
        "close_time": "2026-03-21T10:00:00Z",
        "expiration_time": "2026-03-28T10:00:00Z",
        "status": "active",
        "result": "",
        "can_close_early": True,
        "expiration_value": "",
        "strike_type": "greater",
        "floor_strike": float(strike),
        "tick_size": 1,
    }


def market_2025(strike: str = "80199.99", event: str = EVENT, **changes: Any) -> dict[str, Any]:
    return {
        **common(strike, event),
        "yes_bid": 17,
        "yes_ask": 21,
        "no_bid": 79,
        "no_ask": 83,
        "last_price": 0,
        "volume": 12,
        "open_interest": 5,
        **changes,
    }


def market_2026(strike: str = "80199.99", event: str = EVENT, **changes: Any) -> dict[str, Any]:
    return {
        **common(strike, event),
        "created_time": "2026-03-20T09:01:57.529868Z",
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "yes_bid_dollars": "0.1700",
        "yes_ask_dollars": "0.2100",
        "no_bid_dollars": "0.7900",
        "no_ask_dollars": "0.8300",
        "yes_bid_size_fp": "3.50",
        "yes_ask_size_fp": "7.00",
        "volume_fp": "12.25",
        "open_interest_fp": "5.00",
        **changes,
    }


def event(markets: list[dict[str, Any]], name: str = EVENT, **changes: Any) -> dict[str, Any]:
    return {
        "event_ticker": name,
        "series_ticker": "KXBTCD",
        "title": "Bitcoin price on Mar 21, 2026?",
        "mutually_exclusive": False,
        "markets": markets,
        **changes,
    }


def book_2026(name: str | None = None) -> dict[str, Any]:
    levels = {"yes_dollars": [["0.1600", "9.00"], ["0.1700", "3.50"]], "no_dollars": [["0.7900", "7.00"]]}
    return {"orderbook_fp": levels} | ({} if name is None else {"ticker": name})


def book_2025() -> dict[str, Any]:
    return {"orderbook": {"yes": [[16, 9], [17, 3]], "no": None}}


def candle_2025(end: int = FIRST_MINUTE, **changes: Any) -> dict[str, Any]:
    return {
        "end_period_ts": end,
        "yes_bid": {"open": 17, "high": 18, "low": 16, "close": 17},
        "yes_ask": {"open": 21, "high": 22, "low": 20, "close": 22},
        "price": {"open": None, "high": None, "low": None, "close": None, "mean": None, "previous": 20},
        "volume": 3,
        "open_interest": 5,
        **changes,
    }


def candle_2026(end: int = FIRST_MINUTE, **changes: Any) -> dict[str, Any]:
    bid, ask = ("0.1700", "0.1800", "0.1600", "0.1700"), ("0.2100", "0.2200", "0.2000", "0.2200")
    points = ("open_dollars", "high_dollars", "low_dollars", "close_dollars")
    return {
        "end_period_ts": end,
        "yes_bid": dict(zip(points, bid, strict=True)),
        "yes_ask": dict(zip(points, ask, strict=True)),
        "price": {"previous_dollars": "0.2000"},
        "volume_fp": "3.00",
        "open_interest_fp": "5.00",
        **changes,
    }


def candle_historical(end: int = FIRST_MINUTE, **changes: Any) -> dict[str, Any]:
    """Dollar strings below the names that were those of cents."""
    points = ("open", "high", "low", "close")
    return {
        "end_period_ts": end,
        "yes_bid": dict(zip(points, ("0.1700", "0.1800", "0.1600", "0.1700"), strict=True)),
        "yes_ask": dict(zip(points, ("0.2100", "0.2200", "0.2000", "0.2200"), strict=True)),
        "price": dict.fromkeys((*points, "mean", "previous")),
        "volume": "3.00",
        "open_interest": "5.00",
        **changes,
    }
