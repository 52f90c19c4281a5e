"""`strikecast config`: check, show and create the settings file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json
from pipelines.configuration.settings_file import CONFIG_FILE_VARIABLE, config_file, exposed_credentials
from pipelines.errors import SettingsError
from pipelines.protection.private_files import make_private
from pipelines.settings import Settings, check_settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Check, show and create the settings file.")


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="Settings file; by default the one in use.")] = None,
    json: Json = False,
) -> None:
    """Check the settings file and the environment, and list every problem with its line or variable.

    Warns of credentials that every user of the machine may read. Exit code 1 when there is a problem.

    Examples: `strikecast config check`, `strikecast config check new.toml`
    """
    if file is not None:
        os.environ[CONFIG_FILE_VARIABLE] = str(file.absolute())
    found, path = check_settings(), config_file()
    problems = [] if isinstance(found, Settings) else found
    warnings = [] if problems or (warning := exposed_credentials()) is None else [warning]
    if json:
        checked = {"problems": problems, "warnings": warnings}
        console.print_json({"file": str(path), "file_exists": path.is_file(), **checked})
    elif problems:
        console.print_lines(*problems)
    else:
        valid = f"{path}: valid" if path.is_file() else f"{path} does not exist: the defaults apply"
        console.print_lines(valid, *(f"warning: {one}" for one in warnings))
    if problems:
        raise typer.Exit(1)


@app.command()
def show(json: Json = False) -> None:
    """Show every setting with its value and its source: the default, a line of the file, or the environment.

    Of a URL, only scheme and host are shown. Examples: `strikecast config show`, `strikecast config show --json`
    """
    show_settings(load_settings(), json=json)


def show_settings(settings: Settings, *, json: bool) -> None:
    """Print the settings with their sources."""
    from pipelines.configuration.effective import Source, effective_settings
    from pipelines.configuration.fields import toml_value

    path, effective = config_file(), effective_settings(settings)
    if json:
        console.print_json({"file": str(path), "file_exists": path.is_file(), "settings": effective})
        return
    rows = [
        (
            one.name,
            "(unset)" if one.value is None else toml_value(one.value),
            f"file, line {one.line}" if one.source is Source.FILE else str(one.source),
        )
        for one in effective
    ]
    title = f"settings file {path}{'' if path.is_file() else ' (does not exist)'}"
    console.print_table(("setting", "value", "source"), rows, title=title, prose={"value"})


@app.command()
def init() -> None:
    """Write a settings file in which every setting is described and commented out with its default.

    A file that exists is not changed. Example: `strikecast config init`
    """
    from pipelines.configuration.template import settings_template

    path = config_file()
    if path.exists() or path.is_symlink():
        raise SettingsError(f"{path} exists: edit it, or move it away first")
    make_private(path.parent)
    try:
        with path.open("x", encoding="utf-8") as created:
            created.write(settings_template())
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; {CONFIG_FILE_VARIABLE} names a file elsewhere"
        ) from error
    console.print_lines(
        f"{path}: remove the # before a setting to change it; `strikecast config check` checks the file"
    )
