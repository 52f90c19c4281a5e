"""Read the strike tables.

Ages are computed by the reader's clock, as those of the probability files: quotes that were fresh when a file was
written are not shown once they are older than MAX_QUOTE_AGE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import ceil, inf
from pathlib import Path
from typing import Any

import orjson

from pipelines.domain.markets.contracts import HAS_CAP, MarketStatus, Side, StrikeType
from pipelines.domain.models.freshness import (
    FileState,
    Freshness,
    SessionState,
    Status,
    TableFreshness,
    TableState,
    judge,
    judge_table,
)
from pipelines.domain.models.strike_table import MAX_QUOTE_AGE, OPEN
from pipelines.domain.prices.decimals import strike_text
from pipelines.errors import single_line
from pipelines.live.probability_reader import MAX_FILE_BYTES, read_limited
from pipelines.live.probability_writer import strike_table_path
from pipelines.live.strike_table_schema import Strike, StrikeTable, require_strike_table

MAX_QUOTE_AGE_SECONDS = MAX_QUOTE_AGE.total_seconds()


@dataclass(frozen=True)
class TableName:
    """A symbol's strike table of a series; the file of its first series does not have the series in its name."""

    symbol: str
    series: str
    is_first: bool = True

    def path(self, folder: Path) -> Path:
        """The file."""
        return strike_table_path(folder, self.symbol, None if self.is_first else self.series)

    def __str__(self) -> str:
        return f"{self.symbol} {self.series}"


def table_names(series: Mapping[str, Sequence[str]]) -> tuple[TableName, ...]:
    """The strike tables of the series of each symbol, in their order."""
    return tuple(
        TableName(symbol, one, place == 0) for symbol, names in series.items() for place, one in enumerate(names)
    )


@dataclass(frozen=True)
class Edge:
    """What a side is worth after the fee: `points` of percent; `fee`: cents of one contract."""

    side: Side
    points: float
    fee: float


@dataclass(frozen=True)
class Row:
    """One strike. Probabilities are of YES, percent; bid and ask of YES, cents; None where not known.

    `label`: the values that are YES, or from where on; `distance_usd`, `distance_pct`: from the price to the strike,
    positive above it; `holds_price`: whether the price is between both bounds; `edge`: of the better side. Quotes, and
    what rests on them, are None where they are too old or the market is not active; `quote_age_seconds`: their age now.
    """

    strike: float
    label: str
    distance_usd: float
    distance_pct: float
    holds_price: bool
    bid: float | None
    ask: float | None
    bid_size: float | None
    ask_size: float | None
    model: float | None
    pooled: float | None
    edge: Edge | None
    quote_age_seconds: float | None
    volume: float | None
    status: MarketStatus | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class TableView:
    """A strike table at an instant; without a readable file, `table` and `payload` are None and there are no rows.

    `ttc_seconds`: to the event's close, 0 after it; `rows`: highest strike first.
    """

    name: TableName
    file: FileState
    table: StrikeTable | None = None
    payload: Mapping[str, Any] | None = None
    ttc_seconds: int | None = None

    @property
    def state(self) -> TableState:
        """What `judge_table` judges."""
        return TableState(self.name.series, self.file, None if self.table is None else self.table.market_status)

    @cached_property
    def freshness(self) -> Freshness:
        """The judgement of the file, without a knowledge of the session that writes it."""
        return judge(self.file)

    @property
    def state_word(self) -> str:
        """The market's status in a word: open, halted, closed, no event, unavailable; or the file's problem."""
        if self.table is None or not self.judge(None).is_written:
            return self.freshness.status
        return self.table.market_status.partition(": ")[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the market is not open, and every problem with the file."""
        why = "" if self.table is None else single_line(self.table.market_status.partition(": ")[2])
        return (*([why] if why else []), *(one for one in self.freshness.reasons if one != why))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The strikes, highest first."""
        if self.table is None:
            return ()
        has_edge = self.freshness.cause is None
        rows = [
            _row(one, self.table, self.file.file_age_seconds or 0.0, has_edge=has_edge) for one in self.table.strikes
        ]
        below = {StrikeType.LESS, StrikeType.LESS_OR_EQUAL}
        order = sorted(
            zip(rows, self.table.strikes, strict=True), key=lambda pair: (-pair[0].strike, pair[1].strike_type in below)
        )
        return tuple(row for row, _ in order)

    @property
    def summary(self) -> dict[str, Any]:
        """Statuses of file and market, as `strikecast status` and the page's list of symbols have them."""
        table = self.table
        return {
            "series": self.name.series,
            "status": self.freshness.status,
            "reasons": self.freshness.reasons,
            "market_status": None if table is None else single_line(table.market_status),
            "broker": None if table is None else table.broker,
            "event_ticker": None if table is None else table.event_ticker,
            "file_age_seconds": self.file.file_age_seconds,
        }

    def judge(self, session: SessionState | None) -> TableFreshness:
        """The judgement with a knowledge of the session."""
        return judge_table(self.state, session)


def read_table(folder: Path, name: TableName, now: datetime) -> TableView:
    """Read a strike table at `now` (aware)."""
    return table_of(name, read_limited(name.path(folder)), now)


def table_of(name: TableName, content: bytes | None, now: datetime) -> TableView:
    """A file's content at `now` (aware); None means that there is no file."""
    if content is None:
        problem = f"there is no strike table of {name} yet: the live session writes it"
        return TableView(name, FileState(name.symbol, Status.MISSING, reasons=(problem,)))
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"over {MAX_FILE_BYTES} bytes")
        payload = orjson.loads(content)
        table = require_strike_table(payload)
        if (table.symbol, table.series_ticker) != (name.symbol, name.series):
            raise ValueError(f"it is of {table.symbol} {table.series_ticker}")
        age = (now - datetime.fromisoformat(table.last_updated)).total_seconds()
        file = FileState(
            name.symbol,
            file_age_seconds=age,
            price_age_seconds=age + table.price_age_ms / 1_000,
            written_status=table.status,
            reasons=tuple(single_line(reason) for reason in table.reasons),
        )
        ttc_seconds = max(0, ceil((datetime.fromisoformat(table.market_close) - now).total_seconds()))
        return TableView(name, file, table, payload, ttc_seconds)
    except (ValueError, TypeError, OverflowError) as error:  # of a naive time, or one that is out of range
        reason = single_line(str(error))[:200]
        problem = f"the file of {name} is not a strike table ({type(error).__name__}: {reason})"
        return TableView(name, FileState(name.symbol, Status.UNREADABLE, reasons=(problem,)))


def _row(one: Strike, table: StrikeTable, file_age_seconds: float, *, has_edge: bool) -> Row:
    age = None if one.quote_age_ms is None else one.quote_age_ms / 1_000 + max(0.0, file_age_seconds)
    is_fresh = age is not None and age <= MAX_QUOTE_AGE_SECONDS
    is_quoted = is_fresh and table.market_status == OPEN and one.market_status is MarketStatus.ACTIVE
    low, high = _bounds(one)
    distance = one.strike - table.current_price
    holds_price = one.strike_type is StrikeType.BETWEEN and low <= table.current_price < high
    return Row(
        strike=one.strike,
        label=strike_label(one),
        distance_usd=0.0 if holds_price else distance,
        distance_pct=0.0 if holds_price else distance / table.current_price * 100,
        holds_price=holds_price,
        bid=one.yes_bid if is_quoted else None,
        ask=one.yes_ask if is_quoted else None,
        bid_size=one.yes_bid_size if is_quoted else None,
        ask_size=one.yes_ask_size if is_quoted else None,
        model=one.yes_probability,
        pooled=_yes(one.pooled_probability, one.active_side) if is_quoted else None,
        edge=better_side(one) if is_quoted and has_edge else None,
        quote_age_seconds=age,
        volume=one.volume,
        status=one.market_status,
        problems=tuple(single_line(text) for text in one.problems),
    )


def _bounds(one: Strike) -> tuple[float, float]:
    """The lowest value that is YES, and the lowest above it that is not."""
    if one.floor_strike is None and one.strike_type in HAS_CAP:
        return -inf, one.strike
    return one.strike, inf if one.cap_strike is None else one.cap_strike + 0.01


def _yes(of_active_side: float | None, active: Side) -> float | None:
    return of_active_side if of_active_side is None or active is Side.YES else round(100 - of_active_side, 4)


def strike_label(one: Strike) -> str:
    """The values that are YES, such as "118,500", "below 61,600" or "80,100 to 80,199.99"."""
    if one.strike_type in (StrikeType.LESS, StrikeType.LESS_OR_EQUAL):
        return f"below {strike_text(one.strike)}"
    upper = "" if one.cap_strike is None else f" to {strike_text(one.cap_strike)}"
    return strike_text(one.strike) + upper


def better_side(one: Strike) -> Edge | None:
    """The side with the larger edge after the fee; None without an edge."""
    edges = [
        Edge(side, edge, fee)
        for side, edge, fee in ((Side.YES, one.edge_yes, one.fee_yes), (Side.NO, one.edge_no, one.fee_no))
        if edge is not None and fee is not None
    ]
    return max(edges, key=lambda edge: edge.points, default=None)


def cents_text(cents: float) -> str:
    """A contract's price for readers, with the decimals that it has.

    >>> cents_text(43.0), cents_text(9.25)
    ('43', '9.25')
    """
    return f"{cents:.4f}".rstrip("0").rstrip(".")
