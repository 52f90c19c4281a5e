"""`strikecast audit`: the system measures and judges itself."""

import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings
from pipelines.deployment import migrated_database
from pipelines.domain.monitoring.audit.report import Audit, Kind

if TYPE_CHECKING:
    from pipelines.domain.monitoring.audit.document import Document
    from pipelines.storage.postgres.connection import Connection

app = typer.Typer(
    no_args_is_help=True,
    help="Measure the system, judge it, and compare it with itself.\n\nTry `strikecast audit run`, `strikecast audit "
    "baseline before`, and later `strikecast audit compare before`.",
)
Reference = Annotated[
    str | None, typer.Argument(help="Number of an audit, or the name of a baseline; by default the newest.")
]


class Form(StrEnum):
    """How an audit is printed."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    PROMETHEUS = "prometheus"


OutputForm = Annotated[Form, typer.Option("--as", help="How it is printed.")]


@app.command()
def run(
    full: Annotated[bool, typer.Option("--full", help="As each night: longer, with more samples.")] = False,
    shown: OutputForm = Form.TERMINAL,
) -> None:
    """Measure everything, judge it, store it, show it. Example: `strikecast audit run --full`"""
    from pipelines.monitoring.audit.run import run as run_audit

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        done = run_audit(settings, database, Kind.FULL if full else Kind.QUICK, console.log)
    _print(done.audit, done.document, shown)


@app.command()
def show(reference: Reference = None, shown: OutputForm = Form.TERMINAL) -> None:
    """Show a stored audit. Examples: `strikecast audit show`, `strikecast audit show 12 --as html > audit.html`"""
    from pipelines.monitoring.audit.run import document
    from pipelines.storage.monitoring.audits import read_audit
    from pipelines.storage.postgres.connection import Role

    settings = command_settings()
    with migrated_database(settings) as database:
        with database.connect("audit", Role.READER) as connection:
            stored = read_audit(connection, _number(connection, reference))
        _print(stored, document(database, stored), shown)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="Number of an audit, or the name of a baseline.")],
    after: Reference = None,
    json: Json = False,
) -> None:
    """Say what changed between two audits, and what noise explains. Example: `strikecast audit compare before`"""
    from pipelines.domain.monitoring.audit.comparison import compare_all
    from pipelines.domain.monitoring.audit.document import comparison_document
    from pipelines.storage.monitoring.audits import read_audit, read_repeats
    from pipelines.storage.postgres.connection import Role

    settings = command_settings()
    with migrated_database(settings) as database, database.connect("audit", Role.READER) as connection:
        first, second = (read_audit(connection, _number(connection, one)) for one in (before, after))
        repeats = read_repeats(connection, second) if first.kind is second.kind else {}
    found = compare_all(first.figures, second.figures, repeats)
    if json:
        changes = [
            asdict(one)
            | {"difference": one.difference, "difference_unit": one.difference_unit, "relative_pct": one.relative}
            for one in found.changes
        ]
        console.print_json({"changes": changes, "only_before": found.only_before, "only_after": found.only_after})
        return
    from pipelines.monitoring.audit.render import terminal

    console.result.print(terminal(comparison_document(first, second, found)))


@app.command()
def baseline(
    name: Annotated[str, typer.Argument(help="Name to compare with later; one in use moves.")],
    reference: Reference = None,
) -> None:
    """Give an audit a name; retention keeps it. Example: `strikecast audit baseline before-upgrade`"""
    from pipelines.storage.monitoring.audits import name_baseline
    from pipelines.storage.postgres.connection import Role

    settings = command_settings()
    with migrated_database(settings) as database, database.connect("audit", Role.PIPELINE) as connection:
        number = _number(connection, reference)
        name_baseline(connection, name, number)
    console.result.print(f"{name}: audit {number}", markup=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of `--as json`. Example: `strikecast audit schema > audit.schema.json`"""
    from pipelines.monitoring.audit import json_document as published

    console.print_json(published.schema())


def _number(connection: "Connection", reference: str | None) -> int:
    from pipelines.storage.monitoring.audits import baseline as of_name
    from pipelines.storage.monitoring.audits import newest_audit

    if reference is None:
        return newest_audit(connection)
    return int(reference) if reference.isdigit() else of_name(connection, reference)


def _print(audit: Audit, document: "Document", form: Form) -> None:
    from pipelines.monitoring.audit import json_document as published
    from pipelines.monitoring.audit import prometheus as metrics
    from pipelines.monitoring.audit import render

    match form:
        case Form.TERMINAL:
            console.result.print(render.terminal(document))
        case Form.MARKDOWN:
            sys.stdout.write(render.markdown(document))
        case Form.HTML:
            sys.stdout.write(render.html(document))
        case Form.JSON:
            console.print_json(published.plain(audit))
        case Form.PROMETHEUS:
            sys.stdout.write(metrics.text(audit).decode())
