"""`strikecast query`: SQL on the database and the archive of bars."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, reading_settings
from pipelines.deployment import reading_database
from pipelines.errors import SettingsError, escaped

if TYPE_CHECKING:  # DuckDB takes a quarter of a second to import
    from pipelines.storage.queries.query import QueryResult

app = typer.Typer()


class Format(StrEnum):
    """Output format of a query."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command()
def query(
    statement: Annotated[str, typer.Argument(help="A SELECT on `price`, or on tables of the database.")],
    output_format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="By default that of the file's ending, or a table; Parquet needs a file or pipe."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of the terminal.")
    ] = None,
    json: Json = False,
) -> None:
    """Query the database and the archived bars in DuckDB's SQL. Nothing can be changed, and no other file read.

    `price` has every bar, stored or archived, once: symbol, opened_at (UTC), open, high, low, close, volume, archived.
    All tables of `strikecast psql` can be read, too. Of a table only what the query needs is copied: compare its
    columns with constants.

    Examples: `strikecast query "SELECT symbol, year(opened_at), count(*) FROM price GROUP BY ALL ORDER BY ALL"`,
    `strikecast query "SELECT * FROM price WHERE opened_at >= '2026-07-01'" --format parquet -o july.parquet`
    """
    from pipelines.storage.files.archive import Archive
    from pipelines.storage.queries.query import query_database

    chosen = Format.JSON if json else output_format or _format_of(output)
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise SettingsError("Parquet is not text: name a file with --output FILE, or redirect the output")
    settings = reading_settings()
    with (
        reading_database(settings, console.log) as database,
        query_database(database, Archive.of(settings), statement, console.log) as result,
    ):
        _write(result, chosen, output)


def _format_of(output: Path | None) -> Format:
    """The format of a file's ending; a table goes to the terminal only."""
    if output is None:
        return Format.TABLE
    formats = {f".{one}": one for one in (Format.CSV, Format.JSON, Format.PARQUET)}
    if output.suffix not in formats:
        raise SettingsError(f"{output} does not end with {', '.join(formats)}: name its format with --format")
    return formats[output.suffix]


def _write(result: "QueryResult", chosen: Format, output: Path | None) -> None:
    match chosen:
        case Format.PARQUET:
            with result.parquet() as found, _target(output) as file, found.open("rb") as content:
                copyfileobj(content, file.buffer)
        case Format.CSV:
            with _target(output) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(result.names)
                rows = result.rows()
                writer.writerows(map(_escaped, rows) if file.isatty() else rows)
        case Format.JSON:
            with _target(output) as file:
                objects = [dict(zip(result.names, row, strict=True)) for row in result.rows()]
                console.print_json(objects, file, _json_value)
        case Format.TABLE:
            if output is not None:
                raise SettingsError("a table is for the terminal: choose csv, json or parquet for a file")
            console.print_table(result.names, result.rows())


def _escaped(row: Sequence[object]) -> list[object]:
    return [escaped(cell) if isinstance(cell, str) else cell for cell in row]


def _json_value(value: object) -> object:
    """JSON has no decimals, and no intervals."""
    return float(value) if isinstance(value, Decimal | int) else str(value)


@contextmanager
def _target(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that replaces what it contained once it is complete."""
    from pipelines.atomic_files import atomic_write
    from pipelines.protection.private_files import callers_modes

    if output is None:
        yield sys.stdout
        return
    with callers_modes(), atomic_write(output.expanduser()) as partial, partial.open("w", encoding="utf-8") as file:
        yield file
