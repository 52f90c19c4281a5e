"""`strikecast files`: reports, charts and the archive, wherever they were written."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings, reading_settings
from pipelines.deployment import existing_database
from pipelines.errors import SettingsError

app = typer.Typer(
    no_args_is_help=True,
    help="Files that runs on any machine wrote: reports, charts, the archive.\n\nTry `strikecast files list`, then "
    "`strikecast files get reports/btc_calibration.html --output btc.html`.",
)


@app.command("list")
def list_all(json: Json = False) -> None:
    """List reports, charts and files of the archive: where each is kept, which host wrote it, and when.

    Example: `strikecast files list`
    """
    from pipelines.storage.files.listing import list_files
    from pipelines.storage.postgres.connection import Role

    with existing_database(reading_settings()) as database, database.connect("files", Role.READER) as connection:
        found = list_files(connection)
    if json:
        console.print_json(found)
        return
    rows = [
        (one.name, one.kept_in, one.host, f"{one.size_bytes:,}", f"{one.written_at:%Y-%m-%d %H:%M}") for one in found
    ]
    console.print_table(("name", "kept in", "host", "bytes", "written (UTC)"), rows, numbers=("bytes",))


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of a report or chart, as `strikecast files list` shows it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of the terminal.")
    ] = None,
) -> None:
    """Print a report or chart, whichever machine wrote it.

    Example: `strikecast files get reports/btc_calibration.html --output btc.html`
    """
    from pipelines.atomic_files import atomic_write
    from pipelines.protection.private_files import callers_modes
    from pipelines.storage.files.reports import read_report
    from pipelines.storage.postgres.connection import Role

    if output is None and not name.endswith(".html") and sys.stdout.isatty():
        raise SettingsError(f"{name} is not text: name a file with --output FILE, or redirect the output")
    settings = reading_settings()
    with existing_database(settings) as database, database.connect("files", Role.READER) as connection:
        content = read_report(settings, connection, name)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    with callers_modes(), atomic_write(output.expanduser()) as partial:
        partial.write_bytes(content)


@app.command()
def share(json: Json = False) -> None:
    """Prepare and check the shared place of `[shared_files]`, and copy to it what it lacks of this machine's archive.

    When shared_files.url was set or changed; later files are copied when they are written.

    Example: `strikecast files share`
    """
    from pipelines.storage.files.archive import Archive
    from pipelines.storage.postgres.connection import Role

    settings = command_settings()
    archive = Archive.of(settings)
    if archive.place is None:
        raise SettingsError("shared_files.url is not set: it names the folder, or s3://BUCKET/PREFIX, that is shared")
    with existing_database(settings, console.log) as database:
        location = archive.probe()
        with database.connect("files", Role.PIPELINE, autocommit=True) as connection:
            paths = archive.share(connection, console.log)
    outcome = {"place": location, "shared": [str(path) for path in paths]}
    console.print_outcome(outcome, f"{location}: it can be written and read; {len(paths)} files were shared", json=json)
