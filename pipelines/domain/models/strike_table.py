"""The strike table: the markets of an event with our probabilities and their quotes, as JSON.

The fields and their units are in docs/strike-table.md. Asks are cents, which are percent of what a contract pays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from math import ceil, isnan, nan
from typing import Any

import numpy as np

from pipelines.domain.markets.basis import MAX_SPREAD
from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.books import Quote, Quotes
from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.markets.fees import CENTICENT, FeeTerms, Fill, fill_fee
from pipelines.domain.markets.pool import PoolDecision, pooled_with
from pipelines.domain.models.freshness import NO_EVENT, STALE_AFTER_SECONDS, UNAVAILABLE, written_status
from pipelines.domain.models.ladder import LiveState, iso, tidy, ttc_seconds
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.decimals import distance_decimals
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT
from pipelines.domain.prices.ticks import DELTA_LAGS_MINUTES, MILLISECOND, REPLAY, TickFeatures
from pipelines.errors import single_line

#: Markets of a table.
ROWS = 21
#: Older quotes are not shown and give no edge.
MAX_QUOTE_AGE = timedelta(seconds=2)
#: Quotes are dated ahead when the clock was set back since; they are as little of use as old ones.
AHEAD = timedelta(seconds=1)
NO_QUOTES = Quotes()
OPEN = "open"
#: Characters of a text of the exchange or about it.
MOST_TEXT = 500
#: Decimals of prices and edges in cents: contracts have prices of up to six decimals of a dollar.
CENT_DECIMALS = 4


def is_fresh(quoted: QuotedMarket, now: datetime) -> bool:
    """Whether quotes may be shown at `now` (aware UTC)."""
    return -AHEAD <= now - quoted.received_at <= MAX_QUOTE_AGE


@dataclass(frozen=True)
class TableMarket:
    """A market of the table with the model's P(yes), a fraction, NaN where unknown.

    Without an event, a strike of the ladder: `quoted` is None.
    """

    strike_usd: float
    lower_usd: float | None
    upper_usd: float | None
    quoted: QuotedMarket | None
    yes: float

    @classmethod
    def of(cls, quoted: QuotedMarket, yes: float) -> "TableMarket":
        """A market of the exchange."""
        lower, upper = (None if bound is None else float(bound) for bound in quoted.listing.market.bounds_usd())
        strike = lower if lower is not None else upper
        assert strike is not None
        return cls(strike, lower, upper, quoted, yes)

    def is_yes_at(self, price_usd: float) -> bool:
        """Whether the market is YES for this value."""
        return (self.lower_usd is None or price_usd >= self.lower_usd) and (
            self.upper_usd is None or price_usd < self.upper_usd
        )


def market_status(board: EventBoard, now: datetime) -> str:
    """What the exchange lets us know of the event at `now` (aware UTC): "open", or a word and the reason."""
    if board.closes_at is None or not board.markets:
        without = NO_EVENT if board.closes_at is None else f"{NO_EVENT}: {board.event_ticker} has no markets"
        return f"{UNAVAILABLE}: {single_line(board.failure, MOST_TEXT)}" if board.failure else without
    if now >= board.closes_at:
        return "closed"
    if not board.trading:
        return "halted: the exchange does not trade"
    if not any(is_fresh(quoted, now) for quoted in board.markets):
        age = (now - max(quoted.received_at for quoted in board.markets)).total_seconds()
        why = board.failure or (f"quotes are {age:.0f} s old" if age > 0 else f"quotes are dated {-age:.0f} s ahead")
        return f"{UNAVAILABLE}: {single_line(why, MOST_TEXT)}"
    if any(quoted.listing.market.status is MarketStatus.ACTIVE for quoted in board.markets):
        return OPEN
    statuses = {quoted.listing.market.status for quoted in board.markets}
    return f"halted: the markets are {', '.join(sorted(statuses))}"


def is_comparable(state: LiveState, board: EventBoard) -> bool:
    """Whether the price is of the same time as the quotes.

    Replayed prices are not the market's now: only the simulated exchange, which follows them, can be compared.
    """
    follows = board.source is MarketSource.SIMULATED or state.source != REPLAY
    return follows and (state.now - state.tick.at).total_seconds() <= STALE_AFTER_SECONDS


def strike_table(
    state: LiveState,
    tier_usd: float,
    board: EventBoard,
    markets: Sequence[TableMarket],
    *,
    closes_at: datetime,
    pool: PoolDecision,
    features: TickFeatures | None,
    problems: Sequence[str],
    ended: str | None = None,
) -> dict[str, Any]:
    """The strike table as JSON values; never contains NaN.

    `markets`: at most ROWS, nearest to the price first; `closes_at` (aware UTC): of the event, or of the hour without
    one; `problems`: of the price and the model; `ended`: why no further refresh follows.
    """
    now, price = state.now, state.tick.price_usd
    status = market_status(board, now) if ended is None else f"{UNAVAILABLE}: {ended}"
    age_ms = _milliseconds(now - state.tick.at)
    question = state.question.fields(now)
    basis = question["basis"]
    simulated = board.source is MarketSource.SIMULATED
    comparable = is_comparable(state, board)
    reasons = [] if ended is None else [ended]
    reasons += problems
    if not simulated and state.source == REPLAY:
        reasons.append("replayed prices give no edge against the exchange's quotes")
    decimals = distance_decimals(market.strike_usd for market in markets)
    shown = [_shown(_usable_quotes(market, now, status), board.fee_terms) for market in markets]
    served = _served([one.mid for one in shown], [market.yes for market in markets], pool)
    rows = zip(markets, shown, served, strict=True)
    return {
        "symbol": board.symbol,
        "current_price": price,
        "ttc": max(0, ttc_seconds(now, closes_at)),
        "broker": str(board.source),
        "event_ticker": board.event_ticker,
        "market_title": single_line(board.title, MOST_TEXT) or None,
        "strike_tier": tidy(tier_usd),
        "market_status": status,
        "last_updated": iso(now),
        "strikes": [_row(market, quotes, yes_pct, state, decimals, comparable) for market, quotes, yes_pct in rows],
        "momentum": {
            "weighted_score": None if state.momentum_score_pct is None else round(state.momentum_score_pct, 4),
            "deltas": _deltas(features),
        },
        "fingerprint": state.fingerprint_table,
        "series_ticker": board.series_ticker,
        "market_close": closes_at.isoformat().replace("+00:00", "Z"),
        "settlement": question["settlement"],
        "known_values": question["known_values"],
        "known_mean": question["known_mean"],
        "basis_bps": None if basis is None else basis["bps"],
        "basis": basis,
        "warnings": [*question["warnings"], *(single_line(one, MOST_TEXT) for one in board.problems)],
        "pool": {"served": pool.name, "reason": pool.reason},
        "status": str(written_status(age_ms / 1000, reasons, last=ended is not None, replayed=state.source == REPLAY)),
        "reasons": reasons,
        "price_age_ms": age_ms,
        "model": state.model,
        "model_version": state.generation,
        "session": state.session,
        "source": state.source,
        "simulated": simulated,
    }


@dataclass(frozen=True)
class _ShownQuotes:
    """Quotes in the units of the table: prices, fees and costs of one contract in cents, sizes in contracts.

    A cost is the ask with its fee. `mid`: the middle of two sides, a fraction, NaN where there is no usable one.
    """

    yes_bid: float | int | None
    yes_ask: float | int | None
    no_bid: float | int | None
    no_ask: float | int | None
    yes_bid_size: float | int | None
    yes_ask_size: float | int | None
    no_bid_size: float | int | None
    no_ask_size: float | int | None
    fee_yes: float | int | None
    fee_no: float | int | None
    cost_yes: float | int | None
    cost_no: float | int | None
    mid: float
    problems: tuple[str, ...]


def _usable_quotes(market: TableMarket, now: datetime, status: str) -> Quotes:
    """The quotes that may be shown at `now` with a `market_status`."""
    quoted = market.quoted
    if quoted is None or status != OPEN or not is_fresh(quoted, now):
        return NO_QUOTES
    return quoted.listing.quotes if quoted.listing.market.status is MarketStatus.ACTIVE else NO_QUOTES


@lru_cache(maxsize=1024)  # the quotes of 48 tables; every other refresh brings a new price, with the quotes as before
def _shown(quotes: Quotes, terms: FeeTerms) -> _ShownQuotes:
    mid, mid_problems = usable_mid(quotes)
    yes_ask, no_ask = _price(quotes.yes_ask), _price(quotes.no_ask)
    fee_yes, fee_no = _fee(quotes.yes_ask, terms), _fee(quotes.no_ask, terms)
    return _ShownQuotes(
        yes_bid=_price(quotes.yes_bid),
        yes_ask=yes_ask,
        no_bid=_price(quotes.no_bid),
        no_ask=no_ask,
        yes_bid_size=_size(quotes.yes_bid),
        yes_ask_size=_size(quotes.yes_ask),
        no_bid_size=_size(quotes.no_bid),
        no_ask_size=_size(quotes.no_ask),
        fee_yes=fee_yes,
        fee_no=fee_no,
        cost_yes=None if yes_ask is None or fee_yes is None else yes_ask + fee_yes,
        cost_no=None if no_ask is None or fee_no is None else no_ask + fee_no,
        mid=mid,
        problems=(*quotes.problems, *mid_problems),
    )


def _row(
    market: TableMarket,
    quotes: _ShownQuotes,
    served_yes_pct: float | None,
    state: LiveState,
    decimals: int,
    comparable: bool,
) -> dict[str, Any]:
    """`comparable`: the quotes are of the same time as the price."""
    quoted, price = market.quoted, state.tick.price_usd
    contract = None if quoted is None else quoted.listing.market
    active = "yes" if market.is_yes_at(price) else "no"
    yes = None if isnan(market.yes) else round(market.yes * PERCENT_PER_UNIT, 2)
    buffer = abs(market.strike_usd - price)
    return {
        "strike": tidy(market.strike_usd),
        "buffer": round(buffer, decimals),
        "buffer_pct": round(buffer / price * PERCENT_PER_UNIT, 4),
        "probability": _rounded(_of_side(yes, active), 2),
        "yes_ask": quotes.yes_ask,
        "no_ask": quotes.no_ask,
        "yes_diff": _difference(yes, quotes.yes_ask) if comparable else None,
        "no_diff": _difference(_of_side(yes, "no"), quotes.no_ask) if comparable else None,
        "volume": None if quoted is None else tidy(float(quoted.listing.volume)),
        "ticker": None if contract is None else contract.ticker,
        "active_side": active,
        "yes_bid": quotes.yes_bid,
        "no_bid": quotes.no_bid,
        "yes_bid_size": quotes.yes_bid_size,
        "no_bid_size": quotes.no_bid_size,
        "yes_ask_size": quotes.yes_ask_size,
        "no_ask_size": quotes.no_ask_size,
        "fee_yes": quotes.fee_yes,
        "fee_no": quotes.fee_no,
        "edge_yes": _difference(served_yes_pct, quotes.cost_yes) if comparable else None,
        "edge_no": _difference(_of_side(served_yes_pct, "no"), quotes.cost_no) if comparable else None,
        "quote_age_ms": None if quoted is None else _milliseconds(state.now - quoted.received_at),
        "strike_type": None if contract is None else str(contract.strike_type),
        "floor_strike": None if contract is None else _number(contract.floor_strike),
        "cap_strike": None if contract is None else _number(contract.cap_strike),
        "yes_probability": yes,
        "pooled_probability": _rounded(_of_side(served_yes_pct, active), CENT_DECIMALS),
        "market_status": None if contract is None else str(contract.status),
        "problems": quotes.problems,
    }


def usable_mid(quotes: Quotes) -> tuple[float, list[str]]:
    """The middle of two sides, a fraction; NaN with the reason where there is no usable one.

    Quotes that cross, or are not on a tick, say nothing reliable.
    """
    bid, ask = quotes.yes_bid, quotes.yes_ask
    if bid is None or ask is None or quotes.problems:
        return nan, []
    spread = ask.price - bid.price
    if spread > Decimal(str(MAX_SPREAD)):
        return nan, [f"spread of {_cents(spread)} cents: no mid, more than {MAX_SPREAD * 100:.0f}"]
    return float(bid.price + ask.price) / 2, []


def _served(mids: Sequence[float], yes: Sequence[float], pool: PoolDecision) -> list[float | None]:
    """P(yes) of each market as it is served, percent."""
    served = pooled_with(np.array(mids), np.array(yes)) if pool.served else np.array(mids)
    return [None if isnan(one) else one for one in (served * PERCENT_PER_UNIT).tolist()]


def _of_side(yes_pct: float | None, side: str) -> float | None:
    return yes_pct if yes_pct is None or side == "yes" else PERCENT_PER_UNIT - yes_pct


def _difference(probability_pct: float | None, cost: float | None) -> float | None:
    return None if probability_pct is None or cost is None else round(probability_pct - cost, CENT_DECIMALS)


def _fee(ask: Quote | None, terms: FeeTerms) -> float | int | None:
    """Taker fee of one contract, cents."""
    return None if ask is None else _fee_cents(ask.price, terms)


@lru_cache(maxsize=4096)  # the prices of a ladder are few
def _fee_cents(price: Decimal, terms: FeeTerms) -> float | int:
    return _cents(fill_fee(Fill(Decimal(1), price), terms, CENTICENT).total)


def _price(quote: Quote | None) -> float | int | None:
    return None if quote is None else _cents(quote.price)


def _size(quote: Quote | None) -> float | int | None:
    return None if quote is None or quote.contracts is None else tidy(float(quote.contracts))


def _cents(dollars: Decimal) -> float | int:
    return tidy(round(float(dollars * 100), CENT_DECIMALS))


def _number(strike: Decimal | None) -> float | int | None:
    return None if strike is None else tidy(float(strike))


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)


def _milliseconds(age: timedelta) -> int:
    return max(0, ceil(age / MILLISECOND))


def _deltas(features: TickFeatures | None) -> Mapping[str, float | None]:
    values = (None,) * len(DELTA_LAGS_MINUTES) if features is None else features.deltas_pct
    return {f"delta_{lag}m": _rounded(value, 4) for lag, value in zip(DELTA_LAGS_MINUTES, values, strict=True)}


def ladder_markets(strikes_usd: Floats, yes: Floats, price_usd: float) -> list[TableMarket]:
    """Strikes without markets, nearest to the price first; `yes`: float64[k], P(at or above), fractions."""
    pairs = zip(strikes_usd.tolist(), yes.tolist(), strict=True)
    markets = [TableMarket(strike, strike, None, None, chance) for strike, chance in pairs]
    return sorted(markets, key=lambda market: abs(market.strike_usd - price_usd))
