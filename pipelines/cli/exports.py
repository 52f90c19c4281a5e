"""Commands that write tables as files, and read fingerprints back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, command_settings, reading_settings
from pipelines.deployment import migrated_database, reading_database
from pipelines.errors import FingerprintFileError
from pipelines.protection.private_files import callers_modes

if TYPE_CHECKING:  # importing numpy would delay every command
    from pipelines.domain.models.fingerprint import FingerprintSet
    from pipelines.storage.models.generations import ModelVersion
    from pipelines.storage.postgres.connection import Connection

export_app = typer.Typer(no_args_is_help=True, help="Write tables as files.")
import_app = typer.Typer(no_args_is_help=True, help="Import files of the original system.")
ANSWER_FORMATS = (".csv", ".parquet", ".ndjson")


@export_app.command("fingerprints")
def export_fingerprints(
    symbol: Symbol, folder: Annotated[Path, typer.Argument(help="Folder to write to.")], json: Json = False
) -> None:
    """Write the published fingerprints as 62 CSV files in the original's shape.

    Example: `strikecast export fingerprints BTC ./out`
    """
    from pipelines.evaluation import fingerprint_files
    from pipelines.storage.models.generations import active_generation, read_version
    from pipelines.storage.models.tables import read_fingerprints
    from pipelines.storage.postgres.reading import read

    def published(connection: "Connection") -> "tuple[ModelVersion, FingerprintSet]":
        version = read_version(connection, active_generation(connection, symbol))
        return version, read_fingerprints(connection, version)

    with reading_database(reading_settings([symbol]), console.log) as database:
        version, tables = read(database, "export", published)
        try:
            with callers_modes():
                paths = fingerprint_files.export_fingerprints(tables, symbol, folder)
        except OSError as error:
            raise FingerprintFileError(
                f"the files cannot be written to {folder}: {error.strerror} ({error.filename}): name a folder that "
                "exists or can be created"
            ) from error
        facts = {"generation": version.generation, "profile": version.profile, "files": [str(path) for path in paths]}
        line = f"{len(paths)} files of generation {version.generation} ({version.profile}) in {folder}"
        console.print_outcome(facts, line, json=json)


@export_app.command("answers")
def export_answers(
    symbol: Symbol,
    file: Annotated[Path, typer.Argument(help="File to write: .csv, .parquet or .ndjson.")],
    start: Annotated[
        datetime | None, typer.Option("--from", help="First answer, UTC; by default the oldest that is stored.")
    ] = None,
    stop: Annotated[datetime | None, typer.Option("--to", help="End of the answers (exclusive), UTC.")] = None,
    json: Json = False,
) -> None:
    """Write the live session's stored answers with their outcomes, one row per minute and strike.

    An existing file is replaced. Example: `strikecast export answers BTC answers.parquet --from 2026-07-01`
    """
    if file.suffix not in ANSWER_FORMATS:
        raise typer.BadParameter(f"{file} does not end with {', '.join(ANSWER_FORMATS)}", param_hint="FILE")
    from pipelines.evaluation.answer_files import write_answers

    with reading_database(reading_settings([symbol]), console.log) as database, callers_modes():
        rows = write_answers(database, symbol, file, _utc(start), _utc(stop))
    console.print_outcome({"file": str(file), "rows": rows}, f"{rows:,} rows in {file}", json=json)


def _utc(given: datetime | None) -> datetime | None:
    return None if given is None else given.replace(tzinfo=UTC)


@import_app.command("fingerprints")
def import_fingerprints(
    symbol: Symbol,
    folder: Annotated[Path, typer.Argument(help="Folder of exported CSV files, 1 to 62 of them.")],
    publish: Annotated[bool, typer.Option("--publish", help="Publish the generation.")] = False,
    json: Json = False,
) -> None:
    """Store exported fingerprints as a generation with a lookup, and report parity cell by cell.

    Example: `strikecast import fingerprints BTC ./old`
    """
    from pipelines.evaluation.fingerprint_files import read_fingerprint_files
    from pipelines.evaluation.parity import import_tables

    settings = command_settings([symbol])
    imported = read_fingerprint_files(folder, symbol)
    with migrated_database(settings, console.log) as database:
        report = import_tables(database, symbol, imported, publish_it=publish)
    if json:
        console.print_json(report)
    else:
        console.print_import(report)
