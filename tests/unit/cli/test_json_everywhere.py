"""Every command that reports takes --json."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from pipelines.cli.main import app

#: They run until they are ended, run another program, print only progress, or print nothing but JSON, shell commands or
#: a file.
WITHOUT_REPORT = {
    "config init",
    "up",
    "demo",
    "live",
    "watch",
    "serve",
    "markets simulate",
    "worker",
    "psql",
    "dagster",
    "build",
    "sample",
    "audit schema",
    "env",
    "files get",
}


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_command_that_reports_takes_json() -> None:
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    found = {name: {option for each in one.params for option in each.opts} for name, one in commands(root)}
    assert {name for name, options in found.items() if "--json" not in options} == WITHOUT_REPORT
