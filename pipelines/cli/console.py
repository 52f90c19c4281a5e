"""What the command line prints."""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.service.log_setup import command_log

if TYPE_CHECKING:  # polars and the models: half of the time that `--help` would take
    from pipelines.evaluation.parity import ImportReport, Parity
    from pipelines.evaluation.score_runs import ScoreReport

#: Progress and errors; standard output is for results.
progress = Console(stderr=True, highlight=False)
result = Console(highlight=False)
_STARTED = time.monotonic()


def log(message: str) -> None:
    """A line of progress, with the seconds since the command began."""
    command_log.info("%s", message)
    progress.print(Text(f"{time.monotonic() - _STARTED:6.1f} s  ", style="dim") + Text(message))


def print_json(value: object) -> None:
    """A result for machines."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def ladder_table(symbol: str, payload: Mapping[str, Any]) -> Table:
    """A strike ladder, highest strike first; green is likely to be reached, red unlikely."""
    title = f"{symbol} {payload['current_price']:,.2f}, {payload['ttc_seconds']} s to close"
    facts = [
        f"momentum {payload['momentum_score']:+.4f} %"
        if payload.get("momentum_score") is not None
        else "momentum unknown",
        f"{payload['fingerprint_table']}",
        f"{payload.get('model') or 'no model'}, generation {payload['model_version']}",
        *([f"sigma {payload['sigma']:.4f} % per root minute"] if payload.get("sigma") is not None else []),
        *([f"status {payload['status']}"] if "status" in payload else []),
    ]
    table = Table(title=title, caption=", ".join(facts), header_style="bold", title_style="bold")
    for name in ("strike", "move %", "reach %", "95 % interval", "stay %"):
        table.add_column(name, justify="right")
    table.add_column("to reach", width=12)
    for row, interval in reversed(list(zip(payload["probabilities"], payload["intervals"], strict=True))):
        beyond = row["prob_beyond"]
        style = "dim" if beyond is None else _style(beyond)
        sign = "" if row["move_percent"] == 0 else "+" if row["direction"] == "above" else "-"
        table.add_row(
            f"{row['strike']:,}",
            f"{sign}{row['move_percent']:.3f}",
            Text("-" if beyond is None else f"{beyond:.2f}", style=style),
            Text(_interval(interval), style="dim"),
            Text("-" if beyond is None else f"{row['prob_within']:.2f}", style="dim"),
            "" if beyond is None else Bar(100.0, 0.0, beyond, width=12, color=style),
        )
    return table


def _interval(interval: Mapping[str, Any]) -> str:
    low, high = interval["prob_beyond_low"], interval["prob_beyond_high"]
    return "-" if low is None else f"{low:.2f} .. {high:.2f}"


def _style(percent: float) -> str:
    return "green" if percent >= 40 else "yellow" if percent >= 15 else "dark_orange" if percent >= 3 else "red"


def parity_table(title: str, rows: "Sequence[Parity]") -> Table:
    """A parity report."""
    table = Table(title=title, header_style="bold", title_style="bold")
    table.add_column("table")
    for name in ("cells", "equal", "mean diff", "max diff"):
        table.add_column(name, justify="right")
    table.add_column("largest at")
    for row in rows:
        style = "green" if row.equal == row.cells else "yellow"
        where = "" if row.equal == row.cells else row.worst
        name = row.table.split("_directional_")[-1]
        table.add_row(
            name,
            f"{row.cells:,}",
            Text(f"{row.equal:,}", style=style),
            f"{row.mean_difference:.4f}",
            f"{row.largest_difference:.2f}",
            where,
        )
    return table


def print_facts(facts: Mapping[str, Any]) -> None:
    """A result as lines of name and value; what is not known is left out."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value is not None:
            result.print(f"{name.replace('_', ' '):{width}}  {_plain(value)}", markup=False, soft_wrap=True)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_backups(folder: object, backups: Sequence[Mapping[str, Any]]) -> None:
    """Backups, newest first."""
    if not backups:
        result.print(f"there is no backup in {folder} yet: `strikecast backup create`", markup=False, soft_wrap=True)
        return
    table = Table(title=f"backups in {folder}", header_style="bold")
    for name in ("name", "of (UTC)", "size", "rows", "verified (UTC)", "problem"):
        table.add_column(name, justify="right" if name in {"size", "rows"} else "left")
    for one in backups:
        verified = "" if one["verified_at"] is None else f"{one['verified_at']:%Y-%m-%d %H:%M}"
        table.add_row(
            one["name"],
            f"{one['snapshot_at']:%Y-%m-%d %H:%M}",
            f"{one['bytes'] / 1e6:,.1f} MB",
            f"{one['rows']:,}",
            verified,
            Text(one["problem"] or "", style="red"),
        )
    result.print(table)


def print_import(report: "ImportReport") -> None:
    """An import's report."""
    result.print(
        parity_table(f"stored as generation {report.generation}, read back, against the files", report.with_files)
    )
    for check in report.checks:
        mark = Text("holds ", style="green") if check.holds else Text("BROKEN", style="red")
        detail = "" if check.holds else f" ({check.broken:,} of {check.total:,}; {check.worst})"
        result.print(mark + Text(f" {check.name}{detail}"))
    if report.with_active:
        result.print(parity_table("the files against the generation published before", report.with_active))
    if not report.published:
        result.print("not published; --publish makes it the one that readers see")


def print_status(state: Mapping[str, Any]) -> None:
    """Settings, symbols and session."""
    settings = Table(title="settings", header_style="bold", title_style="bold", show_header=False)
    for name, value in state["settings"].items():
        settings.add_row(name, _setting(name, value))
    result.print(settings)
    if "schema" not in state:
        result.print(f"database {state['database']}: `strikecast up`, `sample` or `ingest` create it")
        return
    schema = state["schema"]
    result.print(f"schema {schema['found']} (this code needs {schema['needed']}), UI {state['ui'] or 'not up'}")
    table = Table(title="symbols", header_style="bold", title_style="bold")
    columns = {
        "symbol": "symbol",
        "bars": "bars",
        "last_bar_at": "until",
        "quarantined": "refused",
        "model": "champion",
        "generation": "gen",
        "published_at": "published",
    }
    for name, heading in columns.items():
        numeric = name in {"bars", "quarantined", "generation"}
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in state["symbols"]:
        table.add_row(*(_cell(row[name]) for name in columns))
    result.print(table)
    session = state["live_session"]
    if session is None:
        result.print("no live session yet")
    else:
        alive = Text("alive", style="green") if session["alive"] else Text("not running", style="yellow")
        work = f", {session['cycles']:,} refreshes, last heartbeat {_cell(session['heartbeat_at'])}"
        result.print(Text(f"live session {session['session_id']}: ") + alive + Text(work))


def print_scores(report: "ScoreReport") -> None:
    """Scores of a walk-forward: all cases, and a large move within the hour by volatility."""
    first, last = report.span
    pooled = [row for row in report.rows if row.dimension == "all"]
    title = f"{report.symbol}, {first:%Y-%m-%d} to {last:%Y-%m-%d}, {pooled[0].n:,} cases"
    table = Table(title=title, header_style="bold", title_style="bold")
    table.add_column("model")
    for name in ("Brier", "log loss", "skill %", "95 % interval", "calibration", "folds beating momentum"):
        table.add_column(name, justify="right")
    for row in pooled:
        interval = (
            ""
            if row.skill_low is None or row.skill_high is None
            else (f"{100 * row.skill_low:.2f} .. {100 * row.skill_high:.2f}")
        )
        table.add_row(
            row.model,
            f"{row.brier:.5f}",
            f"{row.log_loss:.5f}",
            "" if row.skill is None else f"{100 * row.skill:.2f}",
            interval,
            f"{100 * (row.mean_probability - row.observed_frequency):+.2f}",
            _folds_won(report, row.model),
        )
    result.print(table)
    result.print(_bands_table(report, [row.model for row in pooled]))


def _bands_table(report: "ScoreReport", models: Sequence[str]) -> Table:
    """What was shown and what happened by volatility; red where it is more than 3 points off."""
    table = Table(
        title="a move of 0.5 % or more within 60 minutes, by tenth of volatility: shown, and happened, %",
        header_style="bold",
        title_style="bold",
    )
    from pipelines.domain.evaluation.score_report import BAND_CELL

    table.add_column("")
    found = [row for row in report.rows if row.dimension == BAND_CELL]
    levels = sorted({int(row.level) for row in found})
    for level in levels:
        table.add_column(str(level + 1), justify="right")
    happened = {int(row.level): row.observed_frequency for row in found}
    table.add_row(Text("happened", style="bold"), *(f"{100 * happened[level]:.1f}" for level in levels))
    for model in models:
        shown = {int(row.level): row.mean_probability for row in found if row.model == model}
        off = {level: abs(shown[level] - happened[level]) > 0.03 for level in levels}
        table.add_row(
            model, *(Text(f"{100 * shown[level]:.1f}", style="red" if off[level] else "") for level in levels)
        )
    return table


def _folds_won(report: "ScoreReport", model: str) -> str:
    quarters = [row for row in report.rows if row.dimension == "quarter"]
    yardstick = {row.level: row.brier for row in quarters if row.model == "momentum"}
    mine = {row.level: row.brier for row in quarters if row.model == model}
    if model == "momentum" or not yardstick or not mine:
        return ""
    won = sum((mine[level] or 1.0) < (yardstick[level] or 0.0) for level in yardstick)
    return f"{won} of {len(yardstick)}"


def _setting(name: str, value: object) -> str:
    if name == "model" and isinstance(value, dict):
        return f"{value['name']}, profile {value['profile']} (all of it: --json)"
    if name == "symbols" and isinstance(value, dict):
        return ", ".join(
            f"{symbol} (strikes {known['strike_tier_usd']:g} USD apart)" for symbol, known in value.items()
        )
    return "-" if value is None else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return f"{value:,}" if isinstance(value, int) else str(value)


def plan_table(title: str, lines: Sequence[tuple[str, str, str]]) -> Table:
    """What a job of maintenance does, to what, and why."""
    table = Table(title=title, header_style="bold", title_style="bold")
    for name in ("what", "which", "why"):
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def rows_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Rows of an answer."""
    table = Table(header_style="bold")
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
