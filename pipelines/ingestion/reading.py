"""Read a price file into the view `selected_columns` of DuckDB, which has the columns of a bar under their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipelines.errors import PriceFileError
from pipelines.ingestion import formats
from pipelines.ingestion.formats import BAR_COLUMNS
from pipelines.ingestion.layout import (
    Layout,
    LayoutError,
    TimeColumn,
    understand_columns,
    understand_lines,
    understand_values,
)
from pipelines.ingestion.unpacking import SAMPLE_BYTES, PriceFile, contains
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: The end of a time with an offset, such as 00:00:00-05:00 or 00:00Z.
OFFSET = rb":\d\d(?:Z|[+-]\d\d)"


@dataclass(frozen=True)
class Reading:
    """A file whose columns are in the view `numbered`, cast and not yet validated.

    `format`: the layout's format that fits the bars. `rejects`: DuckDB's table of lines that are not rows, None for
    other files than text; `time_column`: their time's name in it; `skipped`: lines before the first row, of which
    `header` is the last.
    """

    layout: Layout
    format: str
    time: TimeColumn
    has_symbol: bool
    rejects: str | None
    time_column: str
    skipped: int = 0
    header: str = ""


def read_price_file(connection: duckdb.DuckDBPyConnection, file: PriceFile, index: int) -> Reading:
    """Understand a file and create the views over it. Raises PriceFileError with what was seen and a remedy."""
    try:
        if file.kind == "text":
            return _read_text(connection, file, index)
        if file.kind == "json":
            return _read_json(connection, file)
        # DuckDB leaves out comparisons that the file's own minima and maxima decide, and with them our checks.
        return _read_columns(connection, connection.read_parquet(str(file.path)), materialize=True)
    except LayoutError as error:
        raise PriceFileError(f"{file.name}: {error}; nothing was stored") from None


def _read_text(connection: duckdb.DuckDBPyConnection, file: PriceFile, index: int) -> Reading:
    lines = _first_lines(file.path)
    layout = understand_lines(lines, file.own_name)
    if layout.time.kind == "text" and layout.time.is_local and contains(file.path, OFFSET):
        raise LayoutError("some times have an offset from UTC, others have none; write all in one way")
    # DuckDB's cast would read 4_112.39 as 4112.39. The first line may be a header with names such as open_time.
    if layout.decimal is None and contains(file.path, b"_", after_first_line=True):
        layout = replace(layout, decimal=".")
    number = "VARCHAR" if layout.decimal else "DOUBLE"
    numeric = {at for each in layout.positions for role, at in each.items() if role in BAR_COLUMNS[1:]}
    time = {each[role] for each in layout.positions for role in ("opened", "clock") if role in each}
    types = {f"c{at}": number if at in numeric else "VARCHAR" for at in range(layout.width)}
    if len(time) == 1:
        types[f"c{time.pop()}"] = _time_type(layout.time)
    rejects = f"rejected_{index}"
    rows = connection.read_csv(
        str(file.path),
        header=False,
        auto_detect=False,
        skiprows=layout.skip_lines,
        sep=layout.delimiter,
        quotechar=layout.quote,
        escapechar=layout.quote,
        na_values=list(formats.MISSING),
        columns=types,
        ignore_errors=True,
        store_rejects=True,
        rejects_table=rejects,
        rejects_scan=f"{rejects}_scan",
    )
    header = lines[layout.skip_lines - 1].strip() if layout.skip_lines else ""
    return replace(_choose(connection, rows, layout, rejects), header=header)


def _read_json(connection: duckdb.DuckDBPyConnection, file: PriceFile) -> Reading:
    rows = connection.read_json(str(file.path))
    if len(rows.columns) == 1 and str(rows.types[0]).endswith("[]"):
        listed = duckdb.ColumnExpression(rows.columns[0])
        widths = rows.select(duckdb.FunctionExpression("len", listed)).distinct().fetchall()
        if len(widths) != 1:
            raise LayoutError(f"its arrays have {len(widths)} different lengths, expected one")
        extract = []
        for at in range(int(widths[0][0])):
            value = duckdb.FunctionExpression("list_extract", listed, duckdb.ConstantExpression(at + 1))
            if str(rows.types[0]) == "JSON[]":  # of numbers and texts: without the quotes of the texts
                value = duckdb.FunctionExpression("json_extract_string", value, duckdb.ConstantExpression("$"))
            extract.append(value.alias(f"c{at}"))
        values = rows.select(*extract)
        return _choose(connection, values, understand_values(_sample(values), file.own_name), None)
    return _read_columns(connection, rows)


def _read_columns(
    connection: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, *, materialize: bool = False
) -> Reading:
    layout = understand_columns(rows.columns, [str(kind) for kind in rows.types], _sample(rows))
    return _choose(connection, rows, layout, None, materialize=materialize)


def _choose(
    connection: duckdb.DuckDBPyConnection,
    rows: duckdb.DuckDBPyRelation,
    layout: Layout,
    rejects: str | None,
    *,
    materialize: bool = False,
) -> Reading:
    """Create the views for the format that most of the bars fit. Bars that fit two formats are the same in both.

    `materialize`: copy the rows into a table of DuckDB's own before anything looks at their values.
    """
    has_symbol = "symbol" in layout.positions[0]
    if materialize or len(layout.positions) > 1 or has_symbol or len(layout.time.notations) > 1:
        rows.create_view("selected_columns", replace=True)  # read once into a table, then several times
        connection.execute(SQL["materialize_source"])
        rows = connection.table("raw_source")
    fitting = []
    for positions in layout.positions:
        _create_views(connection, rows, positions, layout, layout.time)
        fitting.append(only_row(connection, SQL["count_valid"])[0] if len(layout.positions) > 1 else 0)
    best = max(range(len(fitting)), key=fitting.__getitem__)
    time = _chosen_notation(connection, rows, layout, best)
    _create_views(connection, rows, layout.positions[best], layout, time)
    time_column = rows.columns[layout.positions[best]["opened"]]
    return Reading(layout, layout.formats[best], time, has_symbol, rejects, time_column, layout.skip_lines)


def _chosen_notation(
    connection: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, layout: Layout, best: int
) -> TimeColumn:
    """The notation that most times fit. Raises LayoutError when day and month cannot be told apart."""
    notations = layout.time.notations
    if len(notations) < 2:
        return layout.time
    counts = []
    for notation in notations:
        time = TimeColumn("text", (notation,))
        _create_views(connection, rows, layout.positions[best], layout, time)
        counts.append((only_row(connection, SQL["count_timed"])[0], notation))
    counts.sort(key=lambda each: -each[0])
    everything = TimeColumn("text", (replace(notations[0], formats=tuple(f for n in notations for f in n.formats)),))
    _create_views(connection, rows, layout.positions[best], layout, everything)
    if only_row(connection, SQL["count_timed"])[0] > counts[0][0]:
        raise LayoutError(f"some times are {counts[0][1].name}, others {counts[1][1].name}; write ISO 8601")
    if counts[0][0] == counts[1][0]:
        raise LayoutError(
            f"times may be {counts[0][1].name} or {counts[1][1].name}; write ISO 8601, for example 2024-01-02 00:00:00"
        )
    return TimeColumn("text", (counts[0][1],))


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    rows: duckdb.DuckDBPyRelation,
    positions: dict[str, int],
    layout: Layout,
    time: TimeColumn,
) -> None:
    roles = [*BAR_COLUMNS, *(role for role in ("clock", "symbol") if role in positions)]
    selected = [duckdb.ColumnExpression(rows.columns[positions[role]]).alias(role) for role in roles]
    rows.select(*selected).create_view("selected_columns", replace=True)
    connection.execute(SQL["number_columns"])
    connection.execute(SQL["join_clock" if "clock" in positions else "keep_clock"])
    if time.kind == "text" and time.notations[0].formats:
        connection.execute(SQL["set_notation"], [list(time.notations[0].formats)])
        connection.execute(SQL["time_of_text"])
    elif time.kind == "midnight":
        assert time.day is not None
        day = datetime.fromisoformat(time.day).replace(tzinfo=UTC)
        connection.execute(SQL["set_day"], [int(day.timestamp() * 1e6)])
        connection.execute(SQL["time_of_midnight"])
    else:
        connection.execute(SQL["time_of_epoch" if time.kind == "epoch" else "time_of_iso"])
    if layout.decimal:
        connection.execute(SQL["create_grouped_comma" if layout.decimal == "," else "create_grouped_point"])
    else:
        connection.execute(SQL["create_missing"])
    connection.execute(SQL["numbers_grouped" if layout.decimal else "numbers_plain"])


def create_views_of_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the view `numbered` of a registered `selected_columns` with timestamps and numbers."""
    for statement in ("number_columns", "keep_clock", "time_of_iso", "create_missing", "numbers_plain"):
        connection.execute(SQL[statement])


def _time_type(time: TimeColumn) -> str:
    if time.kind == "epoch":
        return "DOUBLE"
    is_iso = time.kind == "text" and not any(notation.formats for notation in time.notations)
    return "TIMESTAMPTZ" if is_iso else "VARCHAR"


def _first_lines(path: Path) -> list[str]:
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
        complete = not stream.read(1)
    lines = re.split(r"\r\n|\n|\r", sample.decode("utf-8", errors="replace"))
    return (lines if complete else lines[:-1])[:400]


def _sample(rows: duckdb.DuckDBPyRelation) -> list[list[str]]:
    return [["" if value is None else str(value) for value in row] for row in rows.limit(200).fetchall()]


def only_row(
    connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[object] | None = None
) -> tuple[Any, ...]:
    """The first row of a statement. Fetches to the end, because an open result blocks the connection."""
    rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
    return rows[0]


def distinct_symbols(connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
    """The first values of the file's symbol column; only for a Reading that has one."""
    return [value for (value,) in connection.execute(SQL["distinct_symbols"]).fetchall()]
