"""A strike table in the terminal: quotes, probabilities and edge of each market."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.cli.watch import ERROR_STYLE, HINT, LINES_BESIDES_STRIKES, MAX_WIDTH, percent_text
from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.models.freshness import age_text
from pipelines.domain.models.strike_table import OPEN
from pipelines.domain.prices.decimals import price_text
from pipelines.errors import single_line
from pipelines.live.probability_reader import basis_text, clock_text, settlement_text
from pipelines.live.strike_table_reader import Row, TableView, cents_text
from pipelines.live.strike_table_schema import StrikeTable

STATE_STYLES = {OPEN: "bold green", **dict.fromkeys(("halted", "closed", "no event"), "bold yellow")}
SIMULATED_STYLE = "bold white on dark_orange3"
#: A narrower table has no columns for sizes and fee.
MIN_WIDTH_FOR_SIZES = 96


def market_screen(view: TableView, width: int, height: int | None) -> RenderableType:
    """A view in `width` columns and at most `height` lines; None is no limit."""
    width = min(width, MAX_WIDTH)
    header = _header(view, width)
    if view.table is None:
        return Group(*header, Text(), Text(HINT, style="dim"))
    model = f"{view.table.model or 'no model'}, generation {view.table.model_version}"
    if height is None:
        return Group(*header, _table(view.table, view.rows, width), Text(model, style="dim"))
    beside = LINES_BESIDES_STRIKES - any(row.holds_price for row in view.rows)  # then the price has no row of its own
    header = header[: max(1, height - beside - 1)]  # the first line, with the state, is always shown
    nearest = sorted(view.rows, key=lambda row: abs(row.distance_pct))
    shown = nearest[: max(1, height - len(header) - beside)]
    footer = Text(f"{model}   {HINT}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(*header, _table(view.table, [row for row in view.rows if row in shown], width), footer)


def _header(view: TableView, width: int) -> list[Text]:
    """Lines above the table, each of at most `width` columns."""
    table = view.table
    badge = Text(f" {view.state_word} ", style=STATE_STYLES.get(view.state_word, ERROR_STYLE))
    title = Text(str(view.name), style="bold")
    lines = [title + Text("  ") + badge]
    last = []
    if table is not None:
        assert view.payload is not None
        assert view.ttc_seconds is not None
        price = Text(f"  {price_text(table.current_price)}", style="bold bright_cyan")
        simulated = Text(" SIMULATED, no real quotes ", style=SIMULATED_STYLE) if table.simulated else Text()
        closes = f"closes in {clock_text(view.ttc_seconds)}" if view.ttc_seconds else "closed"
        lines = [title + price + Text(f"  {closes}  ") + badge + Text(" ") + simulated]
        event = f"{table.broker} {table.event_ticker or 'no event'}"
        lines.append(Text("   ".join([event, single_line(table.market_title or "")]), style="dim"))
        basis = basis_text(view.payload)
        facts = [f"settles on the {settlement_text(view.payload)}", *([] if basis is None else [f"basis {basis}"])]
        last = [
            Text("   ".join(facts), style="dim"),
            Text(f"edge by the {table.pool.served}: {single_line(table.pool.reason)}", style="dim"),
        ]
    lines += [*(Text(f"! {reason}", style="yellow") for reason in view.reasons), *last]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _table(table: StrikeTable, rows: Sequence[Row], width: int) -> Table:
    """Strikes from the highest to the lowest, with the price between them, or its range marked."""
    with_sizes = width >= MIN_WIDTH_FOR_SIZES
    shown = Table(box=None, header_style="bold underline", pad_edge=False, padding=(0, 1))
    sizes = ("sizes", "fee ¢") if with_sizes else ()
    for name in ("strike", "move %", "bid ¢", "ask ¢", "model %", f"{table.pool.served} %", "edge", "age", *sizes):
        shown.add_column(name, justify="right", no_wrap=True)
    lines = [(row.distance_usd > 0, _row(row, with_sizes=with_sizes)) for row in rows]
    if not any(row.holds_price for row in rows):
        price = Text(price_text(table.current_price), style="bold reverse")
        lines.insert(sum(is_above for is_above, _ in lines), (False, [price, Text("price", style="bold")]))
    for _, line in lines:
        shown.add_row(*line)
    return shown


def _row(row: Row, *, with_sizes: bool) -> list[Text]:
    style = "bold reverse" if row.holds_price else "cyan"
    edge, edge_style = "-", "dim"
    if row.edge is not None:
        edge = f"{row.edge.side.upper()} {row.edge.points:+.2f}"
        edge_style = "bold green" if row.edge.points > 0 else "red"
    age = "-" if row.quote_age_seconds is None else age_text(row.quote_age_seconds)
    cells = [
        Text(row.label, style=style),
        Text(f"{row.distance_pct:+.3f}"),
        Text(_cents(row.bid)),
        Text(_cents(row.ask)),
        Text(percent_text(row.model)),
        Text(percent_text(row.pooled)),
        Text(edge, style=edge_style),
        Text(age if row.status in (None, MarketStatus.ACTIVE) else str(row.status), style="dim"),
    ]
    if with_sizes:
        sizes = [_contracts(row.bid_size), _contracts(row.ask_size)]
        cells += [Text("/".join(sizes)), Text("-" if row.edge is None else f"{row.edge.fee:.2f}")]
    return cells


def _cents(value: float | None) -> str:
    return "-" if value is None else cents_text(value)


def _contracts(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
