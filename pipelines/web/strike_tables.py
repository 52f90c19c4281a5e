"""Strike tables: their JSON endpoints, and the texts that the page shows of them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.models.freshness import Status, age_text
from pipelines.domain.models.ladder import iso
from pipelines.domain.prices.decimals import MIN_DECIMALS, price_text
from pipelines.errors import single_line
from pipelines.live.probability_reader import (
    MAX_FILE_BYTES,
    basis_text,
    clock_text,
    read_limited,
    settlement_text,
)
from pipelines.live.strike_table_reader import Row, TableName, TableView, cents_text, read_table

#: What the page calls the exchanges.
BROKERS = {"kalshi": "Kalshi", "simulated": "simulated exchange"}
#: What edges are computed from.
SERVED = {"pool": "pool of model and market", "mid": "mid of bid and ask"}
NONE = "\u2013"
MAX_TITLE = 200
#: Of more strikes with the same problem, only their number is shown.
MAX_NAMED = 3


class StrikeTableEndpoints:
    """The request handlers; `tables`: the configured ones, the only ones that are served."""

    def __init__(
        self, tables: Callable[[], Sequence[TableName]], output_dir: Path, clock: Callable[[], datetime]
    ) -> None:
        self._tables = tables
        self._folder = output_dir
        self._clock = clock

    def names(self, symbol: str) -> list[TableName]:
        """The tables of a symbol."""
        return [name for name in self._tables() if name.symbol == symbol]

    def views(self, symbol: str) -> list[TableView]:
        """The tables of a symbol as they are now."""
        return [read_table(self._folder, name, self._clock()) for name in self.names(symbol)]

    def all_views(self) -> list[TableView]:
        """The tables of all symbols as they are now."""
        return [read_table(self._folder, name, self._clock()) for name in self._tables()]

    async def table(self, request: Request) -> Response:
        """The file of a symbol's first series, or of the series in the path, unchanged."""
        name = self._require_table(request.path_params["symbol"], request.path_params.get("series"))
        content = read_limited(name.path(self._folder))
        if content is None:
            raise HTTPException(404, f"there is no strike table of {name} yet: the live session writes it")
        if len(content) > MAX_FILE_BYTES:
            raise HTTPException(503, f"the file of {name} is not a strike table: it is too large")
        return Response(content, media_type="application/json")

    def _require_table(self, symbol: str, series: str | None) -> TableName:
        """Raise 404 unless the symbol has a table of the series; None is its first."""
        tables = self._tables()
        found = [name for name in tables if name.symbol == symbol]
        if not found:
            others = ", ".join(dict.fromkeys(name.symbol for name in tables))
            there_are = f"there are those of {others}" if others else "[markets] source is none"
            raise HTTPException(404, f"there is no strike table of this symbol; {there_are}")
        name = found[0] if series is None else next((name for name in found if name.series == series), None)
        if name is None:
            raise HTTPException(404, f"there is no such series; there are {', '.join(one.series for one in found)}")
        return name


def table_event(view: TableView, place: int, now: datetime) -> dict[str, Any]:
    """The data of a server-sent event at `now` (aware UTC): the file's content, and the texts of the page."""
    return {
        "at": iso(now),
        "symbol": view.name.symbol,
        "series": view.name.series,
        "status": view.freshness.status,
        "reasons": view.reasons,
        "payload": view.payload,
        "card": card(view, place),
    }


def card(view: TableView, place: int) -> dict[str, Any] | None:
    """What the page shows of a table, as texts; None without a file. `place`: of its series among the symbol's."""
    table, payload = view.table, view.payload
    if view.freshness.status is Status.MISSING:
        return None
    known = EMPTY_CARD | {
        "symbol": view.name.symbol,
        "series": view.name.series,
        "place": place,
        "state": view.state_word,
        "title": f"Markets of {view.name}",
        "reasons": view.reasons,
    }
    if table is None or payload is None or view.ttc_seconds is None:
        return known
    title = single_line(table.market_title or "", MAX_TITLE)
    return known | {
        "title": title or known["title"],
        "event": table.event_ticker or NONE,
        "broker": BROKERS[table.broker],
        "simulated": table.simulated,
        "last_updated": table.last_updated,
        "market_close": table.market_close,
        "closes_in": clock_text(view.ttc_seconds),
        "settlement": settlement_text(payload),
        "basis": basis_text(payload) or "none",
        "served": SERVED[table.pool.served],
        "served_reason": single_line(table.pool.reason),
        "pooled": f"{table.pool.served} %",
        "price": price_text(table.current_price),
        "rows": [_row(row, table.current_price) for row in view.rows],
        "notes": [*_notes(view), *(single_line(text) for text in table.warnings)],
    }


def _row(row: Row, price_usd: float) -> dict[str, Any]:
    return {
        "strike": row.label,
        "distance": price_text(price_usd) if row.holds_price else f"{row.distance_usd:+,.{MIN_DECIMALS}f}",
        "distance_pct": "" if row.holds_price else f"{row.distance_pct:+.3f} %",
        "is_above": row.distance_usd > 0,
        "holds_price": row.holds_price,
        "bid": _cents(row.bid),
        "bid_size": _contracts(row.bid_size),
        "ask": _cents(row.ask),
        "ask_size": _contracts(row.ask_size),
        "model": _percent(row.model),
        "pooled": _percent(row.pooled),
        "edge": NONE if row.edge is None else f"{row.edge.side.upper()} {row.edge.points:+.2f}",
        "fee": "" if row.edge is None else f"{row.edge.fee:.2f}",
        "edge_is": "" if row.edge is None else "gain" if row.edge.points > 0 else "loss",
        "quote_age_ms": None if row.quote_age_seconds is None else round(1_000 * row.quote_age_seconds),
        "age": NONE if row.quote_age_seconds is None else age_text(row.quote_age_seconds),
        "state": "" if row.status in (None, MarketStatus.ACTIVE) else str(row.status),
    }


def _notes(view: TableView) -> list[str]:
    """The problems of each market's quotes; those of several markets once."""
    labels: dict[str, list[str]] = {}
    for row in view.rows:
        for problem in row.problems:
            labels.setdefault(problem, []).append(row.label)
    return [
        f"{problem}: {'; '.join(strikes) if len(strikes) <= MAX_NAMED else f'{len(strikes)} strikes'}"
        for problem, strikes in labels.items()
    ]


def _cents(value: float | None) -> str:
    return NONE if value is None else cents_text(value)


def _contracts(value: float | None) -> str:
    """Contracts in a few characters, such as 12.5, 1,240 or 56k."""
    if value is None:
        return ""
    return f"{value / 1_000:,.0f}k" if value >= 10_000 else f"{value:,.0f}" if value >= 100 else f"{value:g}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


#: A card before it is filled: for a file that cannot be read, and for the page's script.
EMPTY_CARD: dict[str, Any] = {
    **dict.fromkeys(
        ("symbol", "series", "state", "title", "last_updated", "market_close", "served_reason", "price"), ""
    ),
    **dict.fromkeys(("event", "broker", "closes_in", "settlement", "basis", "served"), NONE),
    "place": 0,
    "simulated": False,
    "pooled": "pool %",
    "reasons": (),
    "rows": (),
    "notes": (),
}
EMPTY_ROW: dict[str, Any] = {
    **dict.fromkeys(
        ("strike", "distance", "distance_pct", "bid_size", "ask_size", "edge", "edge_is", "fee", "state"), ""
    ),
    **dict.fromkeys(("bid", "ask", "model", "pooled", "age"), NONE),
    **dict.fromkeys(("is_above", "holds_price"), False),
    "quote_age_ms": None,
}
