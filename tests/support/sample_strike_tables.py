"""Strike tables with plausible values, as a session writes them; `python sample_strike_tables.py FOLDER` writes some.

Index, model and market are random but repeatable: the price walks, the market's mid is near the model's probability.
"""

import math
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import orjson
from sample_ladders import ladder, write_ladder

from pipelines.domain.markets.fees import CENT, CENTICENT, FeeTerms, Fill, fill_fee
from pipelines.domain.models.ladder import iso, next_market_close
from pipelines.domain.models.strike_table import ROWS
from pipelines.live.probability_writer import strike_table_path
from pipelines.live.strike_table_schema import QUOTE_FIELDS

#: Standard deviation of a minute's return.
SIGMA_PER_MINUTE = 0.0006
ABOVE, RANGES, UP_OR_DOWN = "KXBTCD", "KXBTC", "KXBTC15M"


@dataclass(frozen=True)
class Contract:
    """What a market asks: its strikes in USD, with the bounds of the values that are YES."""

    strike_type: str
    floor: float | None
    cap: float | None

    @property
    def low(self) -> float:
        return -math.inf if self.floor is None else self.floor + (0.01 if self.strike_type == "greater" else 0.0)

    @property
    def high(self) -> float:
        return math.inf if self.cap is None else self.cap + (0.01 if self.strike_type == "between" else 0.0)

    @property
    def strike(self) -> float:
        return round(self.high if self.floor is None else self.low, 2)


def contracts(series: str, price: float, tier: float) -> list[Contract]:
    """The markets of an event around a price."""
    middle = math.floor(price / tier) * tier
    if series == UP_OR_DOWN:
        return [Contract("greater_or_equal", round(price - 0.37 * tier, 2), None)]
    if series == RANGES:
        floors = [middle + (place - 9) * tier for place in range(19)]
        inner = [Contract("between", floor, floor + tier - 0.01) for floor in floors]
        return [
            Contract("less", None, floors[0]),
            *inner,
            Contract("greater", round(floors[-1] + tier - 0.01, 2), None),
        ]
    return [Contract("greater", round(middle + (place - 10) * tier - 0.01, 2), None) for place in range(ROWS)]


def strike_table(
    price: float,
    at: datetime,
    *,
    symbol: str = "BTC",
    series: str = ABOVE,
    tier: float = 250.0,
    broker: str = "kalshi",
    market_status: str = "open",
    served: str = "pool",
    quote_age_ms: int = 320,
    seed: int = 1,
    **fields: Any,
) -> dict[str, Any]:
    """The payload of an event at an instant (aware); `fields` replace others of the same name."""
    close = next_market_close(at)
    ttc = math.ceil((close - at).total_seconds())
    random_numbers = np.random.default_rng([seed, *f"{symbol}{series}".encode()])
    spread = SIGMA_PER_MINUTE * math.sqrt(max(1.0, ttc - 39.5) / 60) * price
    event = f"{series}-26MAR0410"
    rows = [
        _row(one, price, spread, served, quote_age_ms, event, random_numbers) for one in contracts(series, price, tier)
    ]
    rows.sort(key=lambda row: row["buffer"])
    if market_status != "open":
        rows = [row | dict.fromkeys(QUOTE_FIELDS) | {"problems": []} for row in rows]
    deltas = {f"delta_{minutes}m": round(float(random_numbers.normal(0, 0.05)), 4) for minutes in (1, 2, 3, 4, 15, 30)}
    basis = {"bps": 2.1, "source": "quotes", "timestamp": iso(at - timedelta(minutes=9)), "age_seconds": 540}
    reason = {
        "pool": "difference to the mid -0.0012 [-0.0021, -0.0004], 240 settled events",
        "mid": "112 settled events, 200 are needed",
    }
    return {
        "symbol": symbol,
        "current_price": round(price, 2),
        "ttc": ttc,
        "broker": broker,
        "event_ticker": event,
        "market_title": f"Price of {symbol} on {close:%b %d, %Y} at {close:%H:%M} UTC?",
        "strike_tier": tier,
        "market_status": market_status,
        "last_updated": iso(at),
        "strikes": rows,
        "momentum": {"weighted_score": 0.0123, "deltas": deltas},
        "fingerprint": "standardised_lookup_cell",
        "series_ticker": series,
        "market_close": iso(close),
        "settlement": "mean_60s",
        "known_values": max(0, 60 - ttc),
        "known_mean": round(price * 1.0001, 4) if ttc < 60 else None,
        "basis_bps": basis["bps"],
        "basis": basis | {"refused": []},
        "warnings": [],
        "pool": {"served": served, "reason": reason[served]},
        "status": "ok",
        "reasons": [],
        "price_age_ms": 40,
        "model": "standardised",
        "model_version": 7,
        "session": 4,
        "source": "coinbaseexchange",
        "simulated": broker == "simulated",
        **fields,
    }


def _row(
    one: Contract,
    price: float,
    spread: float,
    served: str,
    age_ms: int,
    event: str,
    random_numbers: np.random.Generator,
) -> dict[str, Any]:
    normal = NormalDist(price * 1.0002, spread)
    yes = normal.cdf(one.high) - normal.cdf(one.low)
    model = min(0.9999, max(0.0001, yes))
    mid = min(0.985, max(0.015, model + float(random_numbers.normal(0, 0.02))))
    half = float(random_numbers.choice((0.005, 0.01, 0.015)))
    yes_bid = min(98, max(1, math.floor(100 * (mid - half))))
    yes_ask = min(99, max(yes_bid + 1, math.ceil(100 * (mid + half))))
    bid: float | None = yes_bid if model > 0.004 else None  # far from the price nobody bids
    logit = (math.log(mid / (1 - mid)) + math.log(model / (1 - model))) / 2
    pooled = 100 * (1 / (1 + math.exp(-logit)) if served == "pool" else mid)
    model_pct, is_yes = round(100 * model, 2), one.low <= price < one.high
    strike, no_ask = one.strike, None if bid is None else 100 - bid
    fee_yes, fee_no = _fee(yes_ask), None if no_ask is None else _fee(no_ask)
    bid_size = None if bid is None else round(float(random_numbers.uniform(5, 900)), 2)
    ask_size = float(random_numbers.integers(10, 2_000))
    row = {
        "strike": strike,
        "buffer": round(abs(strike - price), 2),
        "buffer_pct": round(abs(strike - price) / price * 100, 4),
        "probability": model_pct if is_yes else round(100 - model_pct, 2),
        "yes_ask": yes_ask,
        "no_ask": no_ask,
        "yes_diff": round(model_pct - yes_ask, 2),
        "no_diff": None if no_ask is None else round(100 - model_pct - no_ask, 2),
        "volume": float(random_numbers.integers(0, 40_000)),
        "ticker": f"{event}-T{one.floor or one.cap}",
        "active_side": "yes" if is_yes else "no",
        "yes_bid": bid,
        "no_bid": 100 - yes_ask,
        "yes_bid_size": bid_size,
        "no_bid_size": ask_size,
        "yes_ask_size": ask_size,
        "no_ask_size": bid_size,
        "fee_yes": fee_yes,
        "fee_no": fee_no,
        "edge_yes": round(pooled - yes_ask - fee_yes, 2),
        "edge_no": None if no_ask is None or fee_no is None else round(100 - pooled - no_ask - fee_no, 2),
        "quote_age_ms": age_ms,
        "strike_type": one.strike_type,
        "floor_strike": one.floor,
        "cap_strike": one.cap,
        "yes_probability": model_pct,
        "pooled_probability": round(pooled if is_yes else 100 - pooled, 2),
        "market_status": "active",
        "problems": [] if bid is not None else ["no bids for YES"],
    }
    return row | dict.fromkeys(QUOTE_FIELDS) | {"problems": []} if age_ms > 2_000 else row


def _fee(ask: float) -> float:
    fee = fill_fee(Fill(Decimal(1), Decimal(str(ask)) * CENT), FeeTerms(), CENTICENT).trade_fee
    return float(100 * fee)


def write_strike_table(folder: Path, payload: dict[str, Any], series: str | None = None) -> None:
    """Replace a strike table as a session does, without being one; `series`: None for the symbol's first."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{payload['symbol']}_table.partial"
    partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
    partial.replace(strike_table_path(folder, payload["symbol"], series))


def write_for(folder: Path, seconds: float, broker: str = "simulated") -> None:
    """Write the files of BTC with three series each second, with a walking price."""
    price, until, seed = 95_100.0, time.monotonic() + seconds, 0
    while time.monotonic() < until:
        now, seed = datetime.now(UTC), seed + 1
        write_ladder(folder, "BTC", ladder(price, now))
        for series in (ABOVE, RANGES, UP_OR_DOWN):
            payload = strike_table(price, now, series=series, broker=broker, seed=seed)
            write_strike_table(folder, payload, None if series == ABOVE else series)
        price *= math.exp(float(np.random.default_rng(seed).normal(0, SIGMA_PER_MINUTE / 4)))
        time.sleep(1.0)


if __name__ == "__main__":
    write_for(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 600.0)
