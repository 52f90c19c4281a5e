"""Figures of an audit as sections of a document: tables, and what is drawn beside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.domain.monitoring.audit.history import Trend
from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit, told
from pipelines.domain.monitoring.audit.original import Mark, claims


@dataclass(frozen=True)
class Bars:
    """What is drawn as a bar for each label, one beside the other for each series; all in one unit."""

    labels: tuple[str, ...]
    series: Mapping[str, tuple[float, ...]]
    unit: Unit


@dataclass(frozen=True)
class Multiples:
    """What is drawn as small charts alike, one for each trend."""

    trends: tuple[Trend, ...]


@dataclass(frozen=True)
class Section:
    """A heading, a sentence where one is needed, and a table; the first `text_columns` are words, the rest numbers.

    `chart` is drawn where pictures can be, and shows nothing that the table lacks.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lead: str = ""
    text_columns: int = 1
    chart: Bars | Multiples | None = None


#: Of tables and processes so many are shown, and drawn; JSON has all.
MOST_ROWS = 16
MOST_BARS = 10


def trend_section(trends: Sequence[Trend]) -> Section:
    """Each figure over the weeks: where it was, where it is, and its course as a line of blocks."""
    rows = tuple(
        (
            trend.title,
            sparkline([one.value for one in trend.readings]),
            *(told(value, trend.unit) for value in _course(trend)),
        )
        for trend in trends
    )
    lead = ""
    if trends:
        first = min(trend.readings[0].at for trend in trends)
        most = max(len(trend.readings) for trend in trends)
        lead = f"{most} audits since {first:%Y-%m-%d %H:%M} UTC, this one last."
    header = ("figure", "course", "lowest", "highest", "now")
    return Section("Over the weeks", header, rows, lead, 2, Multiples(tuple(trends)) if trends else None)


def _course(trend: Trend) -> tuple[float, float, float]:
    values = [one.value for one in trend.readings]
    return min(values), max(values), values[-1]


BLOCKS = "▁▂▃▄▅▆▇█"
SPARKS = 16


def sparkline(values: Sequence[float]) -> str:
    """The course of values, at most 16 blocks, each the largest of its share of them: a peak is not averaged away."""
    count = min(SPARKS, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    peaks = [max(part) for part in parts]
    low, high = min(peaks), max(peaks)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((peak - low) * scale)] for peak in peaks)


#: In the order in which a tick goes through them.
STAGES = ("feed", "read", "compute", "write", "total")


def live_section(figures: Sequence[Figure]) -> Section:
    """Latency of the live session by stage, since its start, and how many refreshes came late."""
    found: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "live_latency":
            found[figure.labels["stage"]][figure.labels["percentile"]] = figure
    columns = ("p50", "p95", "p99", "max")
    counts = {figure.name: figure for figure in figures if figure.name.startswith("live_") and not figure.labels}
    parts = [
        f"{words} {_cell(counts.get(name))}"
        for name, words in (
            ("live_cycles", "refreshes"),
            ("live_cycles_late", "a second or more after the one before"),
            ("live_ticks", "ticks"),
            ("live_longest_gap", "longest time between refreshes"),
            ("live_stale", "stale for"),
            ("live_start", "ready after"),
        )
    ]
    found = {stage: found[stage] for stage in STAGES if stage in found}
    rows = tuple((stage, *(_cell(of.get(column)) for column in columns)) for stage, of in found.items())
    return Section(
        "The live session, by stage",
        ("stage", *columns),
        rows,
        ", ".join(parts) + "." if counts else "",
        chart=_bars(found, ("p50", "p99")),
    )


def query_section(figures: Sequence[Figure]) -> Section:
    """The statements that answers hang on."""
    found: dict[tuple[str, str], dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "query":
            found[figure.labels["query"], figure.labels["symbol"]][figure.statistic] = figure
    ranked = sorted(found.items())
    rows = tuple(
        (name, symbol, next(iter(of.values())).note, *(_cell(of.get(one)) for one in _PERCENTILES))
        for (name, symbol), of in ranked
    )
    header = ("query", "symbol", "plan", *_PERCENTILES)
    drawn = {f"{name}, {symbol}": of for (name, symbol), of in ranked}
    return Section("Hot queries", header, rows, text_columns=3, chart=_bars(drawn, ("p50", "p95")))


_PERCENTILES = (Statistic.P50, Statistic.P95, Statistic.P99)


def operation_section(figures: Sequence[Figure]) -> Section:
    """Operations as an application does them."""
    found: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "operation":
            found[figure.labels["operation"].replace("_", " ")][figure.statistic] = figure
    rows = tuple(
        (name, f"{len(next(iter(of.values())).samples)}", *(_cell(of.get(one)) for one in _PERCENTILES))
        for name, of in found.items()
    )
    lead = "The read without an index is made on one core, and gives way." if rows else ""
    return Section("Operations", ("operation", "times", *_PERCENTILES), rows, lead)


def statement_section(figures: Sequence[Figure]) -> Section:
    """What took the server's time by its own count."""
    columns = {"statement_share": "share of time", "statement_mean": "mean", "statement_calls": "calls"}
    found = _pivot(figures, "statement", columns)
    ranked = sorted(found, key=lambda name: -found[name]["share of time"].value)
    rows = tuple((name, *(_cell(found[name].get(column)) for column in columns.values())) for name in ranked)
    return Section("Statements, by the server's own count", ("statement", *columns.values()), rows)


def process_section(figures: Sequence[Figure]) -> Section:
    """Every process of ours and of the server, the busiest first."""
    columns = {
        "process_count": "n",
        "process_cpu": "of a core",
        "process_uss": "USS",
        "process_rss": "RSS",
        "process_threads": "threads",
        "process_age": "age",
    }
    found = _pivot(figures, "process", columns)
    ranked = sorted(found, key=lambda name: -(found[name]["of a core"].value if "of a core" in found[name] else 0.0))
    rows = tuple(
        (
            name,
            found[name]["of a core"].note if "of a core" in found[name] else "-",
            *(_cell(found[name].get(column)).removesuffix(" of a core") for column in columns.values()),
        )
        for name in ranked[:MOST_ROWS]
    )
    largest = sorted(found, key=lambda name: -(found[name]["USS"].value if "USS" in found[name] else 0.0))
    lead = "Idle is below 1 % of a core, high above 20 %. RSS counts shared memory in each process; USS adds up."
    lead += _more(ranked)
    chart = _bars({name: found[name] for name in largest}, ("USS",))
    return Section("Processes", ("process", "class", *columns.values()), rows, lead if rows else "", 2, chart)


def host_section(figures: Sequence[Figure]) -> Section:
    """The machine."""
    rows = tuple((named(one), _cell(one)) for one in figures if one.name.startswith(_HOST))
    return Section("The machine", ("what", "measured"), rows)


def table_section(figures: Sequence[Figure]) -> Section:
    """Sizes of tables, the largest first."""
    parts: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "table_size":
            parts[figure.labels["table"]][figure.labels["part"]] = figure
    growth = _pivot(figures, "table", {"table_growth": "growth"})
    total = {table: sum(part.value for part in of.values()) for table, of in parts.items()}
    ranked = sorted(total, key=lambda name: -total[name])
    rows = tuple(
        (
            table,
            *(_cell(parts[table].get(part)) for part in ("rows", "toast", "indexes")),
            told(total[table], Unit.BYTES),
            _cell(growth[table].get("growth")),
        )
        for table in ranked[:MOST_ROWS]
    )
    header = ("table", "rows' bytes", "TOAST", "indexes", "total", "growth")
    lead = _more(ranked).strip()
    return Section(
        "Tables, the largest first",
        header,
        rows,
        lead,
        chart=_bars({name: parts[name] for name in ranked}, ("rows", "toast", "indexes")),
    )


def row_section(figures: Sequence[Figure]) -> Section:
    """Rows of tables, dead ones, and room that they do not need, the most of that first."""
    columns = {
        "table_rows": "rows",
        "table_dead_rows": "dead rows",
        "table_bloat": "bloat",
        "table_index_use": "by index",
    }
    found = _pivot(figures, "table", columns)
    ranked = sorted(found, key=lambda name: -(found[name]["bloat"].value if "bloat" in found[name] else 0.0))
    rows = tuple(
        (table, *(_cell(found[table].get(column)) for column in columns.values())) for table in ranked[:MOST_ROWS]
    )
    lead = f"Bloat is an estimate from the planner's statistics.{_more(ranked)}" if rows else ""
    return Section("Rows, and room that they do not need", ("table", *columns.values()), rows, lead)


def build_section(figures: Sequence[Figure]) -> Section:
    """The newest build of each symbol and model."""
    columns = {
        "build_bars": "bars",
        "build_lookup_rows": "rows of the lookup",
        "build_seconds": "took",
        "build_age": "ago",
    }
    found: dict[tuple[str, str], dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name in columns:
            found[figure.labels["symbol"], figure.labels["model"]][columns[figure.name]] = figure
    rows = tuple(
        (symbol, model, *(_cell(of.get(column)) for column in columns.values()))
        for (symbol, model), of in sorted(found.items())
    )
    return Section("Builds", ("symbol", "model", *columns.values()), rows, text_columns=2)


_HOST = ("host_", "all_processes", "disk_sync")
_SHOWN_ABOVE = ("process_", "table_", "query", "operation", "statement_", "live_", "build_", *_HOST)


def rest_section(figures: Sequence[Figure]) -> Section:
    """All that no other section shows, or leaves to the JSON."""
    rows = tuple((named(one), _cell(one)) for one in figures if not one.name.startswith(_SHOWN_ABOVE))
    return Section("The server, files and maintenance", ("what", "measured"), rows)


def original_section(figures: Sequence[Figure]) -> Section:
    """The original's own audits beside this one."""
    rows = tuple(
        (
            claim.what,
            claim.change,
            claim.said,
            f"{claim.gives} ({claim.mark})",
            "-" if claim.ours is None else _beside(claim.ours.told(figures)),
        )
        for claim in claims()
    )
    header = ("what", "before and after", "it said", "its numbers give", "ours")
    lead = "Recomputed: its own numbers are enough to check it. Unverifiable: they are not. Measured: by this audit."
    return Section("Beside the original's audits", header, rows, lead, text_columns=5)


def _beside(ours: str | None) -> str:
    return "not measured" if ours is None else f"{ours} ({Mark.MEASURED})"


def named(figure: Figure) -> str:
    """A figure's key as people read it."""
    return figure.key.replace("_", " ").replace("{", "(").replace("}", ")")


def _pivot(figures: Sequence[Figure], row: str, columns: Mapping[str, str]) -> dict[str, dict[str, Figure]]:
    """Figures by the value of a label, then by the column that their name stands for."""
    found: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name in columns and row in figure.labels:
            found[figure.labels[row]][columns[figure.name]] = figure
    return found


def _bars(found: Mapping[str, Mapping[str, Figure]], series: Sequence[str]) -> Bars | None:
    """Of what has all series, the first few."""
    whole = {label: of for label, of in found.items() if all(name in of for name in series)}
    labels = tuple(whole)[:MOST_BARS]
    if not labels:
        return None
    return Bars(
        labels,
        {name: tuple(whole[label][name].value for label in labels) for name in series},
        whole[labels[0]][series[0]].unit,
    )


def _more(ranked: Sequence[str]) -> str:
    left = len(ranked) - MOST_ROWS
    return f" {left} more are in the JSON." if left > 0 else ""


def _cell(figure: Figure | None) -> str:
    return "-" if figure is None else told(figure.value, figure.unit)
