"""`strikecast watch`: a ladder in the terminal."""

import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from select import select

from rich.align import Align
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.errors import NoDataError
from pipelines.live.file_reader import Rung, Status, View, age_text, clock_text, read_view

STATUS_STYLES = {Status.OK: "bold green", Status.DEGRADED: "bold yellow"}
BAD_STYLE = "bold white on red"
#: By the distance from the price, as a share of the widest one shown.
DISTANCE_STYLES = ((0.12, "bold bright_cyan"), (0.35, "cyan"), (0.65, "blue"), (1.0, "bright_black"))
#: Wider, the bars say no more.
WIDEST = 100
#: Narrower, the interval makes room.
NEEDED_FOR_INTERVALS = 64
#: Heading of the table, the row of the price, the footer.
LINES_BESIDE_STRIKES = 3
HINT = "Ctrl-C ends this"
ENDINGS = (signal.SIGINT, signal.SIGTERM)


def watch(folder: Path, symbol: str, console: Console) -> None:
    """Show a symbol's ladder each second anew until SIGINT or SIGTERM, which this process ignores from then on; once
    where the console is no terminal.

    Raises NoDataError when it is no terminal and there is no ladder to show.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        view = read_view(folder, symbol, datetime.now(UTC))
        if view.payload is None:
            raise NoDataError("; ".join(view.reasons))
        console.print(screen(view, console.width, None))
        return
    signals = _signals()
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        caught = b""
        while not any(ending in caught for ending in ENDINGS):
            now = datetime.now(UTC)
            live.update(screen(read_view(folder, symbol, now), *console.size), refresh=True)
            ready, _, _ = select([signals], [], [], 1.0 - datetime.now(UTC).microsecond / 1e6)
            caught = os.read(signals, 64) if ready else b""
    for number in ENDINGS:  # the interpreter's own end gives handlers back, and a second signal would then kill it
        signal.signal(number, signal.SIG_IGN)


def _signals() -> int:
    """A pipe that delivers signals' numbers from now on: those that end the watch, and a change of the terminal's size.

    Not raised, since a second one would cut short the terminal's restoration; not blocked, since the threads of numpy
    would get them.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (*ENDINGS, signal.SIGWINCH):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def screen(view: View, width: int, height: int | None) -> RenderableType:
    """A view in `width` columns and at most `height` lines (None: as many as it takes)."""
    width = min(width, WIDEST)
    head = _head(view, width)
    if view.payload is None:
        return Group(*head, Text(), Text(HINT, style="dim"))
    model = f"{view.payload['model'] or 'no model'}, generation {view.payload['model_version']}"
    if height is None:
        return Group(*head, _table(view, view.rungs, width), Text(model, style="dim"))
    head = head[: max(1, height - LINES_BESIDE_STRIKES - 1)]  # the first line has the status, whatever is left out
    room = max(1, height - len(head) - LINES_BESIDE_STRIKES)
    footer = Text(f"{model}   {HINT}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(*head, _table(view, nearest(view.rungs, room), width), footer)


def nearest(rungs: Sequence[Rung], count: int) -> list[Rung]:
    """The `count` strikes nearest to the price, in the order of `rungs`."""
    chosen = sorted(rungs, key=lambda rung: abs(rung.move_pct))[:count]
    return [rung for rung in rungs if rung in chosen]


def _head(view: View, width: int) -> list[Text]:
    """Lines above the table, none longer than `width`."""
    payload = view.payload
    badge = Text(f" {view.status} ", style=STATUS_STYLES.get(view.status, BAD_STYLE))
    title = Text(view.symbol, style="bold")
    if payload is None:
        lines = [title + Text("  ") + badge]
    else:
        assert view.ttc_seconds is not None
        assert view.price_age_seconds is not None
        assert view.file_age_seconds is not None
        closes = f"closes in {clock_text(view.ttc_seconds)}" if view.ttc_seconds else "this hour has closed"
        ages = f"price {age_text(view.price_age_seconds)} old, file {age_text(view.file_age_seconds)} old"
        facts = [
            f"sigma {payload['sigma']:.4f} %/√min" if payload["sigma"] is not None else "",
            f"momentum {payload['momentum_score']:+.4f} %"
            if payload["momentum_score"] is not None
            else "momentum unknown",
        ]
        lines = [
            title
            + Text(f"  {payload['current_price']:,.2f}", style="bold bright_cyan")
            + Text(f"  {closes}  ")
            + badge,
            Text(ages + "   " + "   ".join(fact for fact in facts if fact), style="dim"),
        ]
    lines += [Text(f"! {reason}", style="yellow") for reason in view.reasons]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _table(view: View, rungs: Sequence[Rung], width: int) -> Table:
    intervals = width >= NEEDED_FOR_INTERVALS
    table = Table(box=None, width=width, header_style="bold underline", pad_edge=False, padding=(0, 1))
    for name in ("strike", "move %", "at or above %", *(["95 % interval"] if intervals else []), "reach %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True)
    assert view.payload is not None
    price = f"{view.payload['current_price']:,.2f}"
    widest = max((abs(rung.move_pct) for rung in view.rungs), default=0.0) or 1.0
    marked = False
    for rung in rungs:
        if not marked and rung.move_pct <= 0:
            table.add_row(*_price_row(price, intervals))
            marked = True
        table.add_row(*_row(rung, widest, intervals))
    if not marked:
        table.add_row(*_price_row(price, intervals))
    return table


def _price_row(price: str, intervals: bool) -> list[RenderableType]:
    return [Text(price, style="bold reverse"), Text("price", style="bold"), *[""] * (4 if intervals else 3)]


def _row(rung: Rung, widest: float, intervals: bool) -> list[RenderableType]:
    share = abs(rung.move_pct) / widest
    style = next((style for limit, style in DISTANCE_STYLES if share <= limit), DISTANCE_STYLES[-1][1])
    interval = "-" if rung.low is None else f"{rung.low:.2f} .. {rung.high:.2f}"
    bar: RenderableType = "" if rung.at_or_above is None else Bar(100.0, 0.0, rung.at_or_above, color=style.split()[-1])
    return [
        Text(f"{rung.strike:,}", style=style),
        Text(f"{rung.move_pct:+.3f}", style=style),
        Text(_percent(rung.at_or_above), style=style),
        *([Text(interval, style="dim")] if intervals else []),
        Text(_percent(rung.reach), style="dim"),
        Align.left(bar),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
