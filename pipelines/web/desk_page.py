"""Texts and the equity line of the page of the paper desk, which only the server renders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2

from pipelines.domain.models.freshness import age_text
from pipelines.live.probability_reader import clock_text
from pipelines.storage.desk.rows import EquityPoint, TradeRow
from pipelines.web.desk_report import DeskAccount, desk_report, exact

NONE = "\u2013"
#: The line is drawn in this box, which the page stretches.
WIDTH, HEIGHT = 1_000, 200
#: Points of the line: more than a phone can show.
MAX_POINTS = 300
#: Without saves for so long, the line is interrupted.
GAP = timedelta(minutes=15)
#: Trades of the page; `/api/desk/trades` has more.
SHOWN_TRADES = 20
FOLDER = Path(__file__).parent


class DeskPage:
    """Renders the page; `symbols` returns the configured ones."""

    def __init__(self, symbols: Callable[[], Sequence[str]]) -> None:
        self._symbols = symbols
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"money": money, "price": price, "percent": percent, "contracts": contracts}
        environment.filters |= {"is_gain": is_gain, "age": age_text, "countdown": clock_text}
        box = {"none_text": NONE, "width": WIDTH, "height": HEIGHT}
        self._template = environment.get_template("desk.html", globals=box)

    def render(self, account: DeskAccount, now: datetime, problem: str | None = None) -> str:
        """The page of an account at `now` (aware UTC). `problem`: why the account cannot be read."""
        report = desk_report(account, now)
        state, stored = account.state, account.stored
        ended = [trade for trade in stored.trades if trade.ended_at is not None]
        return self._template.render(
            report=report,
            problem=problem,
            symbols=self._symbols(),
            at_limit=state is not None and state.loss_usd(now) >= state.rules.daily_loss_usd,
            line=None if state is None else equity_line(stored.equity, float(report["capital_usd"])),
            trades=[_trade(trade) for trade in ended[:SHOWN_TRADES]],
            rejections=[
                (reason, count, [one["rejections"].get(reason, 0) for one in report["symbols"].values()])
                for reason, count in report["rejections"].items()
            ],
        )


def _trade(row: TradeRow) -> dict[str, Any]:
    """What the page shows of a trade that has ended."""
    return {
        "ticker": row.ticker,
        "side": str(row.side),
        "ended": str(row.stage) if row.result is None else f"{row.stage}, {row.result}",
        "contracts": exact(row.bought_contracts),
        "bought": _mean(row.cost_usd, row.bought_contracts),
        "sold": _mean(row.sales_usd, row.sold_contracts),
        "fees_usd": exact(row.fees_usd),
        "gain_usd": exact(row.gain_usd),
        "ended_at": "" if row.ended_at is None else f"{row.ended_at:%m-%d %H:%M}",
    }


def _mean(value_usd: Decimal, number: Decimal) -> str | None:
    return exact(value_usd / number) if number else None


@dataclass(frozen=True)
class EquityLine:
    """SVG paths of equity and capital, and the texts of the axes: amounts from the top, times (UTC) from the left."""

    path: str
    capital_y: float
    amounts: tuple[str, str, str]
    times: tuple[str, str]
    points: int


def equity_line(points: Sequence[EquityPoint], capital_usd: float) -> EquityLine | None:
    """The line of equity over time; None with fewer than two points. `points`: oldest first."""
    if len(points) < 2:
        return None
    shown = thinned([(point.at, point.equity_usd) for point in points])
    first, last = shown[0][0], shown[-1][0]
    span = max((last - first).total_seconds(), 1.0)
    values = [value for _, value in shown] + [capital_usd]
    margin = max(max(values) - min(values), 1.0) * 0.08
    low, high = min(values) - margin, max(values) + margin

    def y(value: float) -> float:
        return round(HEIGHT * (high - value) / (high - low), 1)

    path, before = "", None
    for at, value in shown:
        joined = before is not None and at - before <= max(GAP, (last - first) / MAX_POINTS * 3)
        path += f"{'L' if joined else 'M'}{WIDTH * (at - first).total_seconds() / span:.1f} {y(value)}"
        before = at
    amounts = (f"{high:,.2f}", f"{(low + high) / 2:,.2f}", f"{low:,.2f}")
    return EquityLine(path, y(capital_usd), amounts, (f"{first:%m-%d %H:%M}", f"{last:%m-%d %H:%M}"), len(shown))


def thinned(points: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """About MAX_POINTS points: lowest and highest of each part, so that no drawdown is left out, and the newest."""
    if len(points) <= MAX_POINTS:
        return list(points)
    size = -(-len(points) * 2 // MAX_POINTS)
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return found if found[-1] == points[-1] else [*found, points[-1]]


def money(value: str | Decimal | None, *, signed: bool = False) -> str:
    """An amount to the cent.

    >>> money("9987.125"), money("-3.1", signed=True), money("0", signed=True)
    ('9,987.12', '-3.10', '0.00')
    """
    if value is None:
        return NONE
    cents = Decimal(value).quantize(Decimal("0.01")) + 0
    return f"{cents:+,.2f}" if signed and cents else f"{cents:,.2f}"


def price(value: str | None) -> str:
    """A price of a contract in cents, with at most two decimals.

    >>> price("0.48"), price("0.0825")
    ('48', '8.25')
    """
    return NONE if value is None else f"{float(Decimal(value) * 100):.2f}".rstrip("0").rstrip(".")


def percent(value: str | None) -> str:
    """A fraction in percent.

    >>> percent("0.5321")
    '53.21'
    """
    return NONE if value is None else f"{float(value) * 100:.2f}"


def contracts(value: str) -> str:
    """Contracts with the decimals that they have.

    >>> contracts("1240"), contracts("12.5")
    ('1,240', '12.5')
    """
    return f"{Decimal(value):,f}"


def is_gain(value: str | None) -> str:
    """`gain`, `loss`, or nothing for 0."""
    amount = Decimal(value or 0)
    return "gain" if amount > 0 else "loss" if amount < 0 else ""
