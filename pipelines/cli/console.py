"""Print the progress and the results of commands."""

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.service.log_setup import command_log

if TYPE_CHECKING:  # importing polars and the models would take half of the time of `--help`
    from pipelines.evaluation.parity import ImportReport, Parity
    from pipelines.evaluation.score_runs import ScoreReport

#: Progress and errors go to standard error, results to standard output.
progress = Console(stderr=True, highlight=False)
result = Console(highlight=False)
_STARTED = time.monotonic()


def log(message: str) -> None:
    """Print and log a line of progress, with the seconds since the start of the command."""
    command_log.info("%s", message)
    progress.print(Text(f"{time.monotonic() - _STARTED:6.1f} s  ", style="dim") + Text(message))


def print_lines(*lines: str) -> None:
    """Print lines of a result as they are, without wrapping them."""
    for line in lines:
        result.print(line, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print a result as JSON; dataclasses are objects."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def ladder_table(symbol: str, payload: Mapping[str, Any]) -> Table:
    """A strike ladder, highest strike first; green strikes are likely to be reached, red ones unlikely."""
    momentum, sigma = payload.get("momentum_score"), payload.get("sigma")
    caption = [
        "momentum unknown" if momentum is None else f"momentum {momentum:+.4f} %",
        f"{payload['fingerprint_table']}",
        f"{payload.get('model') or 'no model'}, generation {payload['model_version']}",
        *([] if sigma is None else [f"sigma {sigma:.4f} % per root minute"]),
        *([f"status {payload['status']}"] if "status" in payload else []),
    ]
    columns = ("strike", "move %", "reach %", "95 % interval", "stay %")
    table = _table(
        f"{symbol} {payload['current_price']:,.2f}, {payload['ttc_seconds']} s to close", columns, numbers=columns
    )
    table.caption = ", ".join(caption)
    table.add_column("to reach", width=12)
    for row, interval in reversed(list(zip(payload["probabilities"], payload["intervals"], strict=True))):
        beyond, low = row["prob_beyond"], interval["prob_beyond_low"]
        style = "dim" if beyond is None else _style(beyond)
        sign = "" if row["move_percent"] == 0 else "+" if row["direction"] == "above" else "-"
        table.add_row(
            f"{row['strike']:,}",
            f"{sign}{row['move_percent']:.3f}",
            Text("-" if beyond is None else f"{beyond:.2f}", style=style),
            Text("-" if low is None else f"{low:.2f} .. {interval['prob_beyond_high']:.2f}", style="dim"),
            Text("-" if beyond is None else f"{row['prob_within']:.2f}", style="dim"),
            "" if beyond is None else Bar(100.0, 0.0, beyond, width=12, color=style),
        )
    return table


def _style(percent: float) -> str:
    return "green" if percent >= 40 else "yellow" if percent >= 15 else "dark_orange" if percent >= 3 else "red"


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print a result as lines of name and value; values of None are omitted."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value is not None:
            print_lines(f"{name.replace('_', ' '):{width}}  {_fact(value)}")


def _fact(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_backups(folder: object, backups: Sequence[Mapping[str, Any]]) -> None:
    """Print the backups in a folder, in the given order."""
    if not backups:
        print_lines(f"there is no backup in {folder} yet: `strikecast backup create`")
        return
    columns = ("name", "of (UTC)", "size", "rows", "verified (UTC)", "problem")
    table = _table(f"backups in {folder}", columns, numbers={"size", "rows"})
    for backup in backups:
        table.add_row(
            backup["name"],
            f"{backup['snapshot_at']:%Y-%m-%d %H:%M}",
            f"{backup['bytes'] / 1e6:,.1f} MB",
            f"{backup['rows']:,}",
            "" if backup["verified_at"] is None else f"{backup['verified_at']:%Y-%m-%d %H:%M}",
            Text(backup["problem"] or "", style="red"),
        )
    result.print(table)


def print_import(report: "ImportReport") -> None:
    """Print the report of an import of fingerprints."""
    _print_parity(f"generation {report.generation} as stored, compared with the files", report.with_files)
    for check in report.checks:
        mark = Text("passed", style="green") if check.passed else Text("FAILED", style="red")
        detail = "" if check.passed else f" ({check.failed:,} of {check.total:,}; {check.detail})"
        result.print(mark + Text(f" {check.name}{detail}"))
    if report.with_active:
        _print_parity("the files, compared with the previously published generation", report.with_active)
    if not report.published:
        result.print("not published; use --publish to publish it")


def _print_parity(title: str, rows: "Sequence[Parity]") -> None:
    numbers = ("cells", "equal", "mean diff", "max diff")
    table = _table(title, ("table", *numbers, "largest at"), numbers=numbers)
    for row in rows:
        is_equal = row.equal == row.cells
        table.add_row(
            row.table.split("_directional_")[-1],
            f"{row.cells:,}",
            Text(f"{row.equal:,}", style="green" if is_equal else "yellow"),
            f"{row.mean_difference:.4f}",
            f"{row.largest_difference:.2f}",
            "" if is_equal else row.worst,
        )
    result.print(table)


def print_status(state: Mapping[str, Any]) -> None:
    """Print settings, symbols and the live session."""
    settings = Table(title="settings", title_style="bold", show_header=False)
    for name, value in state["settings"].items():
        settings.add_row(name, _setting(name, value))
    result.print(settings)
    if "schema" not in state:
        result.print(f"database {state['database']}: `strikecast up`, `sample` or `ingest` create it")
        return
    schema, session = state["schema"], state["live_session"]
    result.print(f"schema {schema['found']} (this code needs {schema['needed']}), UI {state['ui'] or 'not up'}")
    columns = {
        "symbol": "symbol",
        "bars": "bars",
        "last_bar_at": "until",
        "quarantined": "rejected",
        "model": "champion",
        "generation": "gen",
        "published_at": "published",
    }
    table = _table("symbols", columns.values(), numbers={"bars", "rejected", "gen"})
    for column in table.columns:
        column.no_wrap = True
    for row in state["symbols"]:
        table.add_row(*(_cell(row[name]) for name in columns))
    result.print(table)
    if session is None:
        result.print("no live session yet")
    else:
        alive = Text("alive", style="green") if session["alive"] else Text("not running", style="yellow")
        work = f", {session['cycles']:,} refreshes, last heartbeat {_cell(session['heartbeat_at'])}"
        result.print(Text(f"live session {session['session_id']}: ") + alive + Text(work))


def _setting(name: str, value: object) -> str:
    if name == "model" and isinstance(value, dict):
        return f"{value['name']}, profile {value['profile']} (details: --json)"
    if name == "symbols" and isinstance(value, dict):
        return ", ".join(f"{symbol} (strikes {of['strike_tier_usd']:g} USD apart)" for symbol, of in value.items())
    return "-" if value is None else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_scores(report: "ScoreReport") -> None:
    """Print the scores of all cases, and the calibration of a large move within the hour by volatility."""
    first, last = report.span
    pooled = [row for row in report.rows if row.dimension == "all"]
    title = f"{report.symbol}, {first:%Y-%m-%d} to {last:%Y-%m-%d}, {pooled[0].n:,} cases"
    numbers = ("Brier", "log loss", "skill %", "95 % interval", "calibration", "folds beating momentum")
    table = _table(title, ("model", *numbers), numbers=numbers)
    for row in pooled:
        has_interval = row.skill_low is not None and row.skill_high is not None
        table.add_row(
            row.model,
            f"{row.brier:.5f}",
            f"{row.log_loss:.5f}",
            "" if row.skill is None else f"{100 * row.skill:.2f}",
            f"{100 * (row.skill_low or 0):.2f} .. {100 * (row.skill_high or 0):.2f}" if has_interval else "",
            f"{100 * (row.mean_probability - row.observed_frequency):+.2f}",
            _folds_won(report, row.model),
        )
    result.print(table)
    result.print(_calibration_by_volatility(report, [row.model for row in pooled]))


def _calibration_by_volatility(report: "ScoreReport", models: Sequence[str]) -> Table:
    """Observed frequency and mean probability in percent; red where they differ by more than 3 points."""
    from pipelines.domain.evaluation.score_report import BAND_CELL

    rows = [row for row in report.rows if row.dimension == BAND_CELL]
    observed = {int(row.level): row.observed_frequency for row in rows}
    levels = sorted(observed)
    headings = [str(level + 1) for level in levels]
    title = "a move of 0.5 % or more after 60 minutes, by decile of volatility: observed and predicted, %"
    table = _table(title, ("", *headings), numbers=headings)
    table.add_row(Text("observed", style="bold"), *(f"{100 * observed[level]:.1f}" for level in levels))
    for model in models:
        predicted = {int(row.level): row.mean_probability for row in rows if row.model == model}
        cells = (
            Text(f"{100 * predicted[level]:.1f}", style="red" if abs(predicted[level] - observed[level]) > 0.03 else "")
            for level in levels
        )
        table.add_row(model, *cells)
    return table


def _folds_won(report: "ScoreReport", model: str) -> str:
    """Number of quarters in which a model's Brier score is lower than that of momentum."""
    quarters = [row for row in report.rows if row.dimension == "quarter"]
    reference = {row.level: row.brier for row in quarters if row.model == "momentum"}
    own = {row.level: row.brier for row in quarters if row.model == model}
    if model == "momentum" or not reference or not own:
        return ""
    won = sum((own[level] or 1.0) < (reference[level] or 0.0) for level in reference)
    return f"{won} of {len(reference)}"


def rows_table(title: str | None, names: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of plain text, which is folded rather than truncated."""
    table = _table(title, names)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def _table(title: str | None, columns: Collection[str] = (), numbers: Collection[str] = ()) -> Table:
    """An empty table; the columns in `numbers` are right-aligned."""
    table = Table(title=title, header_style="bold", title_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table
