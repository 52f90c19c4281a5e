"""Small recordings for backtests of the paper desk: markets of one series, and quotes by minutes before their close."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from pipelines.domain.desk.rules import DeskRules, Served
from pipelines.domain.evaluation.desk_backtest import DeskRecording
from pipelines.domain.evaluation.desk_quotes import DeskMarkets
from pipelines.domain.evaluation.recorded_quotes import Candles
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.fees import FeeTerms

CLOSES_AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
#: Rules by which a probability far above the ask is always bought.
RULES = DeskRules(probability=Served.POOL, interval_share=Decimal(0), min_independent=0)
#: Number of the market, minutes before its close, bid and ask of YES in dollars, and the age of the quote.
QuoteRow = tuple[int, int, float, float] | tuple[int, int, float, float, float]


def market(
    name: str = "A",
    *,
    closes_at: datetime = CLOSES_AT,
    strike: int = 100,
    result: MarketResult | None = MarketResult.YES,
    settlement_value: Decimal | None = None,
) -> Market:
    """A market at or above a strike, settled unless its result is None; one event per close."""
    event = f"KXBTCD-{closes_at:%d%H%M}"
    status = MarketStatus.CLOSED if result is None else MarketStatus.FINALIZED
    return replace(
        Market(
            f"{event}-{name}",
            event,
            "KXBTCD",
            StrikeType.GREATER_OR_EQUAL,
            Decimal(strike),
            None,
            closes_at - timedelta(hours=1),
            closes_at,
            (),
            status,
        ),
        result=result,
        settlement_value=settlement_value,
    )


def candles(markets: Sequence[Market], rows: Iterable[QuoteRow]) -> Candles:
    """Candles whose quotes are 0 s old unless a row has an age."""
    columns = list(zip(*((*row, 0.0)[:5] for row in rows), strict=True)) or [(), (), (), (), ()]
    numbers = np.array(columns[0], dtype=np.int64)
    closes = np.array([int(one.closes_at.timestamp()) // 60 for one in markets], dtype=np.int64)
    bids, asks, ages = (np.array(column, dtype=np.float64) for column in columns[2:])
    return Candles(numbers, closes[numbers] - np.array(columns[1], dtype=np.int64), bids, asks, ages)


def recording(markets: Sequence[Market], rows: Iterable[QuoteRow], terms: FeeTerms = FeeTerms()) -> DeskRecording:  # noqa: B008
    """What a desk is shown of these markets."""
    quotes = DeskMarkets(markets).quotes(candles(markets, rows))
    return DeskRecording("BTC", markets, quotes, dict.fromkeys((one.event_ticker for one in markets), terms))
