"""`strikecast watch`: a symbol's ladder, or a strike table, in the terminal."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from select import select
from typing import Any, Protocol, TypeVar

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.domain.models.freshness import Status, age_text
from pipelines.domain.prices.decimals import price_text, strike_text
from pipelines.errors import NoDataError
from pipelines.live.probability_reader import Rung, View, basis_text, clock_text, settlement_text

STATUS_STYLES = {Status.OK: "bold green", Status.DEGRADED: "bold yellow", Status.REPLAY: "bold white on dark_orange3"}
ERROR_STYLE = "bold white on red"
#: By the distance from the price, as a share of the largest one in the ladder.
DISTANCE_STYLES = ((0.12, "bold bright_cyan"), (0.35, "cyan"), (0.65, "blue"), (1.0, "bright_black"))
#: Wider bars show no more detail.
MAX_WIDTH = 100
#: A narrower table has no column for the interval.
MIN_WIDTH_FOR_INTERVALS = 64
#: Heading of the table, row of the price, footer.
LINES_BESIDES_STRIKES = 3
HINT = "Press Ctrl-C to stop"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Readable(Protocol):
    """A file as it was read."""

    @property
    def payload(self) -> Mapping[str, Any] | None:
        """Its content, None where there is none to show."""

    @property
    def reasons(self) -> Sequence[str]:
        """Every problem with it."""


File = TypeVar("File", bound=Readable)


def watch(
    read: Callable[[datetime], File], draw: Callable[[File, int, int | None], RenderableType], console: Console
) -> None:
    """Show a file, refreshed each second, until SIGINT or SIGTERM; both are ignored from then on.

    `read`: the file at an instant (aware); `draw`: as `screen`. Without a terminal, print it once. Raises NoDataError
    if there is nothing to print.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        view = read(datetime.now(UTC))
        if view.payload is None:
            raise NoDataError("; ".join(view.reasons))
        console.print(draw(view, console.width, None))
        return
    signals = _signal_pipe()
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        received = b""
        while not any(number in received for number in STOP_SIGNALS):
            live.update(draw(read(datetime.now(UTC)), *console.size), refresh=True)
            ready, _, _ = select([signals], [], [], 1.0 - datetime.now(UTC).microsecond / 1e6)
            received = os.read(signals, 64) if ready else b""
    for number in STOP_SIGNALS:  # at exit the interpreter restores handlers, and a second signal would kill it
        signal.signal(number, signal.SIG_IGN)


def _signal_pipe() -> int:
    """A pipe that from now on receives the numbers of stop signals and of a change of the terminal's size.

    Signals are not raised, since a second one would interrupt the restoration of the terminal, and not blocked, since
    numpy's threads would receive them.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (*STOP_SIGNALS, signal.SIGWINCH):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def screen(view: View, width: int, height: int | None) -> RenderableType:
    """A view in `width` columns and at most `height` lines; None is no limit."""
    width = min(width, MAX_WIDTH)
    header = _header(view, width)
    if view.payload is None:
        return Group(*header, Text(), Text(HINT, style="dim"))
    model = f"{view.payload['model'] or 'no model'}, generation {view.payload['model_version']}"
    if height is None:
        return Group(*header, _table(view, view.rungs, width), Text(model, style="dim"))
    header = header[: max(1, height - LINES_BESIDES_STRIKES - 1)]  # the first line, with the status, is always shown
    rungs = nearest(view.rungs, max(1, height - len(header) - LINES_BESIDES_STRIKES))
    footer = Text(f"{model}   {HINT}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(*header, _table(view, rungs, width), footer)


def nearest(rungs: Sequence[Rung], count: int) -> list[Rung]:
    """The `count` strikes nearest to the price, in the order of `rungs`."""
    selected = sorted(rungs, key=lambda rung: abs(rung.move_pct))[:count]
    return [rung for rung in rungs if rung in selected]


def _header(view: View, width: int) -> list[Text]:
    """Lines above the table, each of at most `width` columns."""
    payload = view.payload
    badge = Text(f" {view.status} ", style=STATUS_STYLES.get(view.status, ERROR_STYLE))
    title = Text(view.symbol, style="bold")
    last = None
    if payload is None:
        lines = [title + Text("  ") + badge]
    else:
        assert view.ttc_seconds is not None
        assert view.price_age_seconds is not None
        assert view.file_age_seconds is not None
        price = Text(f"  {price_text(payload['current_price'])}", style="bold bright_cyan")
        closes = f"closes in {clock_text(view.ttc_seconds)}" if view.ttc_seconds else "this hour has closed"
        sigma, momentum = payload["sigma"], payload["momentum_score"]
        facts = [
            f"price {age_text(view.price_age_seconds)} old, file {age_text(view.file_age_seconds)} old",
            *([] if sigma is None else [f"sigma {sigma:.4f} %/√min"]),
            "momentum unknown" if momentum is None else f"momentum {momentum:+.4f} %",
        ]
        basis = basis_text(payload)
        last = f"settles on the {settlement_text(payload)}" + ("" if basis is None else f"   basis {basis}")
        lines = [title + price + Text(f"  {closes}  ") + badge, Text("   ".join(facts), style="dim")]
    if view.notice is not None:
        lines.insert(1, Text(f"REPLAY: {view.notice}", style="bold white on dark_orange3"))
    lines += [Text(f"! {reason}", style="yellow") for reason in view.reasons]
    if last is not None:
        lines.append(Text(last, style="dim"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _table(view: View, rungs: Sequence[Rung], width: int) -> Table:
    """Strikes from the highest to the lowest, with the price between them."""
    assert view.payload is not None
    intervals = ["95 % interval"] if width >= MIN_WIDTH_FOR_INTERVALS else []
    table = Table(box=None, width=width, header_style="bold underline", pad_edge=False, padding=(0, 1))
    for name in ("strike", "move %", "at or above %", *intervals, "below %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True)
    largest = max((abs(rung.move_pct) for rung in view.rungs), default=0.0) or 1.0
    rows = [(rung.move_pct, _row(rung, largest, bool(intervals))) for rung in rungs]
    price = Text(price_text(view.payload["current_price"]), style="bold reverse")
    rows.insert(sum(move > 0 for move, _ in rows), (0.0, [price, Text("price", style="bold")]))
    for _, row in rows:
        table.add_row(*row)
    return table


def _row(rung: Rung, largest_move_pct: float, with_interval: bool) -> list[RenderableType]:
    share = abs(rung.move_pct) / largest_move_pct
    style = next((style for limit, style in DISTANCE_STYLES if share <= limit), DISTANCE_STYLES[-1][1])
    interval = "-" if rung.low is None else f"{rung.low:.2f} .. {rung.high:.2f}"
    bar: RenderableType = "" if rung.at_or_above is None else Bar(100.0, 0.0, rung.at_or_above, color=style.split()[-1])
    return [
        Text(strike_text(rung.strike), style=style),
        Text(f"{rung.move_pct:+.3f}", style=style),
        Text(percent_text(rung.at_or_above), style=style),
        *([Text(interval, style="dim")] if with_interval else []),
        Text(percent_text(rung.below), style="dim"),
        bar,
    ]


def percent_text(value: float | None) -> str:
    """A percentage with two decimals, "-" where it is not known."""
    return "-" if value is None else f"{value:.2f}"
