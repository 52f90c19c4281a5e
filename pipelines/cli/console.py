"""Print the progress and the results of commands."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from json import dumps
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

import orjson
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pipelines.cli.tables import UNLIMITED, WholeTable
from pipelines.domain.prices.decimals import price_text, strike_text
from pipelines.errors import escaped, single_line
from pipelines.service.log_setup import command_log

if TYPE_CHECKING:  # importing polars and the models would take half of the time of `--help`
    from pipelines.evaluation.parity import ImportReport, Parity
    from pipelines.evaluation.score_runs import ScoreReport


class PrintableConsole(Console):
    """A console that shows texts of files, exchanges and other programs with their control characters escaped."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable: the one place that all of them pass."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(_by_line(text, escaped), style)


def _by_line(text: str, escape: Callable[[str], str]) -> str:
    """A text with its line breaks, and every other character that is not printable escaped."""
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(each if each.isprintable() else escape(each) for each in line)
        for line in text.split("\n")
    )


NO_CLOSE = "has no closing price: it has not closed yet, or the prices of its last minute are not known"
YES_NO = {True: "yes", False: "no", None: "-"}
#: Progress and errors go to standard error, results to standard output.
progress = PrintableConsole(stderr=True, highlight=False, width=None if sys.stderr.isatty() else UNLIMITED)
result = PrintableConsole(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)
_STARTED = time.monotonic()


def log(message: str) -> None:
    """Print and log a line of progress, with the seconds since the start of the command.

    A terminal that is gone, or a file on a full disk, is no reason to end what is reported.
    """
    message = single_line(message)
    command_log.info("%s", message)
    with suppress(OSError):
        progress.print(Text(f"{time.monotonic() - _STARTED:6.1f} s  ", style="dim") + Text(message))


def print_lines(*lines: str) -> None:
    """Print lines of a result as they are, without wrapping them."""
    for line in lines:
        result.print(line, markup=False, soft_wrap=True)


def print_outcome(facts: Mapping[str, Any], *lines: str, json: bool) -> None:
    """Print what a command has done, as JSON or as lines."""
    if json:
        print_json(facts)
    else:
        print_lines(*lines)


def print_table(
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    numbers: Collection[str] = (),
    prose: Collection[str] = (),
) -> None:
    """Print a table of a result without cutting a cell; see WholeTable."""
    result.print(WholeTable(names, rows, title, numbers, prose), crop=False)


def print_json(value: object, file: TextIO | None = None, default: Callable[[Any], object] | None = None) -> None:
    """Print a result as JSON; dataclasses are objects, and characters that are not printable are escaped.

    `file`: by default standard output. `default`: JSON values for what has none.
    """
    text = orjson.dumps(value, default, orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    (file or sys.stdout).write(_by_line(text, lambda each: dumps(each)[1:-1]) + "\n")


def print_ladder(symbol: str, payload: Mapping[str, Any]) -> None:
    """Print a strike ladder, highest strike first: the probability of closing at or above each."""
    from pipelines.live.probability_reader import rungs_of

    names = ("strike", "move %", "at or above %", "95 % interval", "below %")
    outcomes, rows = payload.get("closed_at_or_above"), []
    for index, rung in enumerate(rungs_of(payload), start=1):
        above, below = rung.at_or_above, rung.below
        style = "dim" if above is None or below is None else _style(min(above, below))
        rows.append(
            (
                strike_text(rung.strike),
                "0.000" if rung.move_pct == 0 else f"{rung.move_pct:+.3f}",
                Text("-" if above is None else f"{above:.2f}", style=style),
                Text("-" if rung.low is None else f"{rung.low:.2f} .. {rung.high:.2f}", style="dim"),
                Text("-" if below is None else f"{below:.2f}", style="dim"),
                _bar(above, style) if outcomes is None else YES_NO[outcomes[-index]],
            )
        )
    title = f"{symbol} {price_text(payload['current_price'])}, {payload['ttc_seconds']} s to close"
    print_table((*names, "" if outcomes is None else "closed at or above"), rows, title=title, numbers=names)
    print_facts(_ladder_facts(payload), wrap=True)


def _bar(percent: float | None, style: str) -> RenderableType:
    return "" if percent is None else Bar(100.0, 0.0, percent, width=12, color=style)


def _ladder_facts(payload: Mapping[str, Any]) -> dict[str, str | None]:
    """What a ladder rests on, and the quantiles of the close."""
    from pipelines.domain.models.freshness import age_text
    from pipelines.live.probability_reader import replay_notice

    momentum, sigma, age = (payload.get(name) for name in ("momentum_score", "sigma", "volatility_age_seconds"))
    unknown = "not stored" if payload.get("origin") == "stored" else "unknown"
    return {
        "model": f"{payload.get('model') or 'none'}, generation {payload['model_version']}",
        "table": payload["fingerprint_table"],
        "settlement": _settlement_text(payload),
        "momentum": unknown if momentum is None else f"{momentum:+.4f} %",
        "sigma": None if sigma is None else f"{sigma:.4f} % per root minute",
        "volatility": None if age is None else f"{age_text(age)} old",
        "strikes beyond the table": str(payload["clamped"]) if payload["clamped"] else None,
        "status": payload.get("status"),
        **{
            f"{row['percent']} % close at or below": "beyond the table"
            if row["price"] is None
            else price_text(row["price"])
            for row in payload.get("quantiles") or ()
        },
        "outcome": None if "origin" not in payload else _outcome_text(payload),
        "prices": replay_notice(payload),
        "warnings": tuple(payload.get("warnings") or ()) or None,
    }


def _settlement_text(payload: Mapping[str, Any]) -> str:
    """What the market settles on, as far as it is known, and the basis."""
    from pipelines.live.probability_reader import basis_text, settlement_text

    basis, mean = basis_text(payload), payload.get("known_mean")
    return "".join(
        [
            settlement_text(payload),
            "" if mean is None else f" (mean {price_text(mean)})",
            "" if basis is None else f"; basis {basis}",
        ]
    )


def _outcome_text(payload: Mapping[str, Any]) -> str:
    """Where a past ladder comes from, and the price at its close."""
    origin = "answered" if payload["origin"] == "stored" else "computed from bars for"
    price = payload["closing_price"]
    rule = payload["settlement"]
    closed = NO_CLOSE if price is None else f"closed at {price_text(price)} ({rule})"
    return f"{origin} {payload['at']}; the market of {payload['market_close']} {closed}"


def _style(percent: float) -> str:
    return "green" if percent >= 40 else "yellow" if percent >= 15 else "dark_orange" if percent >= 3 else "red"


def print_facts(facts: Mapping[str, Any], *, wrap: bool = False) -> None:
    """Print a result as lines of name and value; values of None are omitted.

    `wrap`: break lines at the width of the terminal, between words only, and indent what follows.
    """
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value is not None:
            line, indent = f"{name.replace('_', ' '):{width}}  {_fact(value)}", " " * (width + 2)
            if wrap:
                line = fill(
                    line, result.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
                )
            print_lines(line)


def _fact(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_backups(folder: object, backups: Sequence[Mapping[str, Any]]) -> None:
    """Print the backups in a folder, in the given order; base backups have no rows and no time of verification."""
    if not backups:
        print_lines(f"there is no backup in {folder} yet: `strikecast backup create`")
        return
    columns = ("name", "kind", "of (UTC)", "size", "rows", "verified (UTC)", "problem")
    rows = [
        (
            backup["name"],
            backup["kind"],
            f"{backup['snapshot_at']:%Y-%m-%d %H:%M}",
            f"{backup['bytes'] / 1e6:,.1f} MB",
            f"{backup['rows']:,}" if "rows" in backup else "",
            f"{at:%Y-%m-%d %H:%M}" if (at := backup.get("verified_at")) else "",
            Text(escaped(backup.get("problem") or ""), style="red"),
        )
        for backup in backups
    ]
    print_table(columns, rows, title=f"backups in {folder}", numbers={"size", "rows"}, prose={"problem"})


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
    lines = []
    for row in rows:
        is_equal = row.equal == row.cells
        lines.append(
            (
                row.table.split("_directional_")[-1],
                f"{row.cells:,}",
                Text(f"{row.equal:,}", style="green" if is_equal else "yellow"),
                f"{row.mean_difference:.4f}",
                f"{row.largest_difference:.2f}",
                "" if is_equal else row.worst,
            )
        )
    print_table(("table", *numbers, "largest at"), lines, title=title, numbers=numbers)


def print_status(state: Mapping[str, Any]) -> None:
    """Print whether the system is up, its database, each symbol, and the live session; 60 columns suffice."""
    settings, urls = state["settings"], state.get("up")
    facts = {
        "up": "no: `strikecast up` starts it" if urls is None else "yes",
        "page": (urls or {}).get("page"),
        "Dagster UI": (urls or {}).get("ui"),
        "home": settings["home"],
        "settings file": settings["config_file"],
        "output": settings["output"],
        "database": settings["database"],
        "feed": settings["feed"],
    }
    if replica := state.get("replica"):
        facts["reads"] = "; ".join(filter(None, (replica["database"], replica["state"], replica["problem"])))
    if "schema" not in state:
        print_facts({**facts, "schema": "none: `strikecast up`, `sample` or `ingest` create it"}, wrap=True)
        return
    schema, session = state["schema"], state["live_session"]
    needed = "" if schema["found"] == schema["needed"] else f", needed {schema['needed']}: `strikecast migrate`"
    server = state["server"]
    embedded = f", embedded ({server['embedded']})" if server["embedded"] else ""
    facts["PostgreSQL"] = f"{server['release']}{embedded}"
    if not server["locks_restricted"]:
        facts["advisory locks"] = "open to every login: `strikecast migrate` by a superuser restricts them"
    facts |= {"schema": f"{schema['found'] or 'none'}{needed}", "live session": None if needed else _session(session)}
    print_facts(facts, wrap=True)
    for row in state["symbols"]:
        print_lines("")
        print_facts(_symbol_facts(row), wrap=True)


def _symbol_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    file = row["file"]
    facts = {"symbol": row["symbol"], "file": "; ".join((file["status"], *file["reasons"]))}
    for table in row["strike_tables"]:
        state = f"{table['status']}, market {table['market_status'] or 'not known'}"
        facts[f"strike table {table['series']}"] = "; ".join((state, *table["reasons"]))
    if row["last_bar_at"] is None:
        return {**facts, "bars": f"none: `strikecast ingest {row['symbol']} PATH`"}
    model = "none: `strikecast build`"
    if row["generation"] is not None:
        model = f"{row['model']}, generation {row['generation']} of {_cell(row['published_at'])}"
    return {
        **facts,
        "bars": f"{row['bars']:,} until {_cell(row['last_bar_at'])}",
        "rejected rows": row["quarantined"] or None,
        "champion": model,
    }


def _session(session: Mapping[str, Any] | None) -> str:
    from pipelines.domain.prices.ticks import REPLAY

    if session is None:
        return "none yet"
    state = "alive" if session["alive"] else "not running"
    prices = "replayed prices" if session["feed"] == REPLAY else f"prices by {session['feed']}"
    return f"{session['session_id']}, {state}, {session['cycles']:,} refreshes, {prices}"


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
    title += f"\nsettled by {pooled[0].settlement}: bars do not give the mean of a minute"
    numbers = ["Brier", "log loss", "skill %", "95 % interval", "calibration"]
    if len(report.folds) > 1:
        numbers.append("folds won")
        title += f"\nfolds won: of {len(report.folds)}, in which the model beats momentum"
    rows = []
    for row in pooled:
        has_interval = row.skill_low is not None and row.skill_high is not None
        rows.append(
            (
                row.model,
                f"{row.brier:.5f}",
                f"{row.log_loss:.5f}",
                "" if row.skill is None else f"{100 * row.skill:.2f}",
                f"{100 * (row.skill_low or 0):.2f} .. {100 * (row.skill_high or 0):.2f}" if has_interval else "",
                f"{100 * (row.mean_probability - row.observed_frequency):+.2f}",
                _folds_won(report, row.model),
            )[: 1 + len(numbers)]
        )
    print_table(("model", *numbers), rows, title=title, numbers=numbers)
    print_lines("")
    _print_calibration_by_volatility(report, [row.model for row in pooled])


def _print_calibration_by_volatility(report: "ScoreReport", models: Sequence[str]) -> None:
    """Observed frequency and mean probability in percent, a decile per row; red where they differ by over 3 points."""
    from pipelines.domain.evaluation.score_report import BAND_CELL

    rows = [row for row in report.rows if row.dimension == BAND_CELL]
    observed = {int(row.level): row.observed_frequency for row in rows}
    predicted = {(row.model, int(row.level)): row.mean_probability for row in rows}

    def cell(model: str, level: int) -> Text:
        is_off = abs(predicted[model, level] - observed[level]) > 0.03
        return Text(f"{100 * predicted[model, level]:.1f}", style="red" if is_off else "")

    names = ("tenth", "observed", *models)
    lines = [
        (level + 1, f"{100 * observed[level]:.1f}", *(cell(model, level) for model in models))
        for level in sorted(observed)
    ]
    title = (
        "a move of 0.5 % or more after 60 minutes, observed and predicted, in percent,\n"
        "by tenth of all cases by forecast volatility, calmest first"
    )
    print_table(names, lines, title=title, numbers=names)


def _folds_won(report: "ScoreReport", model: str) -> str:
    """Number of quarters in which a model's Brier score is lower than that of momentum."""
    quarters = [row for row in report.rows if row.dimension == "quarter"]
    reference = {row.level: row.brier for row in quarters if row.model == "momentum"}
    own = {row.level: row.brier for row in quarters if row.model == model}
    if model == "momentum" or not reference or not own:
        return ""
    won = sum((own[level] or 1.0) < (reference[level] or 0.0) for level in reference)
    return str(won)
