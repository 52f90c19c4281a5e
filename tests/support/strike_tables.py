"""Boards of markets, and strike tables made of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import market_messages as messages
import orjson

from pipelines.domain.markets.basis import Basis, BasisSource
from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.nearest import MarketBounds
from pipelines.domain.markets.pool import PoolDecision
from pipelines.domain.markets.question import MarketQuestion
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.ladder import LiveState
from pipelines.domain.models.strike_table import ROWS, TableMarket, strike_table
from pipelines.domain.prices.ticks import Tick, TickFeatures
from pipelines.live.strike_table_schema import Strike, StrikeTable, json_schema, require_strike_table
from pipelines.markets import wire

CLOSE = datetime(2026, 3, 21, 10, tzinfo=UTC)
NOW = CLOSE - timedelta(minutes=20)
PRICE = 80_312.5
SCHEMA = jsonschema.Draft202012Validator(json_schema())
SERVED = PoolDecision(True, "-.0012 [-.0020, -.0004] over 305 events")
MID = PoolDecision(False, "120 settled events, 200 are needed")
FEATURES = TickFeatures(PRICE, (0.01, 0.02, None, 0.04, 0.15, 0.3), 0.0123, (3,))


def quoted(strike: str = "80199.99", age_ms: int = 300, **changes: Any) -> QuotedMarket:
    """A market quoted at 17 to 21 cents unless changed."""
    message = json.loads(json.dumps(messages.market_2026(strike, **changes)), parse_float=Decimal)
    found = wire.read_listings([message], "KXBTCD")
    assert not found.refused, found.refused
    return QuotedMarket(found.listings[0], NOW - timedelta(milliseconds=age_ms))


def prices(yes_bid: str, yes_ask: str) -> dict[str, str]:
    """The four prices of a message, dollars."""
    no_bid, no_ask = (str(1 - Decimal(price)) for price in (yes_ask, yes_bid))
    return {"yes_bid_dollars": yes_bid, "yes_ask_dollars": yes_ask, "no_bid_dollars": no_bid, "no_ask_dollars": no_ask}


def board(*markets: QuotedMarket, **changes: Any) -> EventBoard:
    made = EventBoard(
        "BTC", "KXBTCD", MarketSource.KALSHI, messages.EVENT, "Bitcoin price on Mar 21, 2026?", CLOSE, tuple(markets)
    )
    return replace(made, **changes)


def state(source: str = "kraken", now: datetime = NOW, basis_bps: float | None = 1.5) -> LiveState:
    basis = None if basis_bps is None else Basis(basis_bps, BasisSource.QUOTES, now)
    return LiveState(
        now=now,
        tick=Tick(now - timedelta(milliseconds=40), PRICE),
        momentum_score_pct=0.0123,
        momentum_bucket=1,
        fingerprint_table="btc_fingerprint_directional_momentum_001",
        generation=4,
        model="standardised",
        session=7,
        source=source,
        question=MarketQuestion(SettlementRule.MEAN_60S, None, basis),
    )


def table(
    of: EventBoard, yes: Sequence[float], pool: PoolDecision = SERVED, live: LiveState | None = None, **changes: Any
) -> dict[str, Any]:
    """The strike table of a board; `yes`: P(yes) of its markets, in the board's order."""
    chances = {one.listing.market.ticker: (one, chance) for one, chance in zip(of.markets, yes, strict=True)}
    nearest = MarketBounds.of(one.listing.market for one in of.markets).nearest(PRICE, ROWS)
    markets = [TableMarket.of(*chances[ticker]) for ticker in nearest]
    arguments = {"closes_at": CLOSE, "pool": pool, "features": FEATURES, "problems": (), **changes}
    return written(strike_table(live or state(), 250.0, of, markets, **arguments))


def written(payload: dict[str, Any]) -> dict[str, Any]:
    """A table as it is read from its file, which has the published schema."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(payload))
    SCHEMA.validate(found)
    assert list(found) == list(StrikeTable.model_fields)
    assert all(list(one) == list(Strike.model_fields) for one in found["strikes"])
    require_strike_table(found)
    return found
