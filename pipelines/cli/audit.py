"""`strikecast audit`: measure, judge and compare the system."""

import sys
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings, reading_settings
from pipelines.deployment import existing_database, migrated_database
from pipelines.domain.monitoring.audit.findings import Audit, Kind
from pipelines.storage.postgres.connection import Role

app = typer.Typer(
    no_args_is_help=True,
    help="Measure and judge the system, and compare audits.\n\nTry `strikecast audit run`, `strikecast audit baseline "
    "before`, and later `strikecast audit compare before`.",
)
Reference = Annotated[
    str | None, typer.Argument(help="Number of an audit, or the name of a baseline; by default the newest.")
]


class Format(StrEnum):
    """Output format of an audit."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    PROMETHEUS = "prometheus"


OutputFormat = Annotated[Format, typer.Option("--as", help="Output format.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as `--as json`.")]


@app.command()
def run(
    full: Annotated[bool, typer.Option("--full", help="As each night: longer, with more samples.")] = False,
    output: OutputFormat = Format.TERMINAL,
    json: AsJson = False,
) -> None:
    """Measure and judge everything, store the audit and show it. Example: `strikecast audit run --full`"""
    from pipelines.monitoring.audit.run import run as run_audit

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        audit = run_audit(settings, database, Kind.FULL if full else Kind.QUICK, console.log)
    _print(audit, Format.JSON if json else output)


@app.command()
def show(reference: Reference = None, output: OutputFormat = Format.TERMINAL, json: AsJson = False) -> None:
    """Show a stored audit. Examples: `strikecast audit show`, `strikecast audit show 12 --as html > audit.html`"""
    from pipelines.storage.monitoring.audits import find_audit, read_audit

    with existing_database(reading_settings()) as database, database.connect("audit", Role.READER) as connection:
        audit = read_audit(connection, find_audit(connection, reference))
    _print(audit, Format.JSON if json else output)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="Number of an audit, or the name of a baseline.")],
    after: Reference = None,
    json: Json = False,
) -> None:
    """Print what changed between two audits, then how many measurements did not.

    Example: `strikecast audit compare before`
    """
    from pipelines.cli.audit_report import audit_report
    from pipelines.domain.monitoring.audit.comparison import compare_all
    from pipelines.domain.monitoring.audit.document import comparison_document
    from pipelines.storage.monitoring.audits import find_audit, read_audit, read_earlier_values

    with existing_database(reading_settings()) as database, database.connect("audit", Role.READER) as connection:
        first, second = (read_audit(connection, find_audit(connection, one)) for one in (before, after))
        earlier = read_earlier_values(connection, second) if first.kind is second.kind else {}
    found = compare_all(first.measurements, second.measurements, earlier)
    if not json:
        console.result.print(audit_report(comparison_document(first, second, found)), crop=False)
        return
    derived = ("outcome", "difference", "difference_unit", "relative_pct")
    changes = [asdict(one) | {name: getattr(one, name) for name in derived} for one in found.changes]
    console.print_json({"changes": changes, "only_before": found.only_before, "only_after": found.only_after})


@app.command()
def baseline(
    name: Annotated[str, typer.Argument(help="Name of the baseline; one in use moves to this audit.")],
    reference: Reference = None,
    json: Json = False,
) -> None:
    """Name an audit as a baseline, which retention keeps. Example: `strikecast audit baseline before-upgrade`"""
    from pipelines.storage.monitoring.audits import find_audit, name_baseline

    with existing_database(command_settings()) as database, database.connect("audit", Role.PIPELINE) as connection:
        number = find_audit(connection, reference)
        name_baseline(connection, name, number)
    console.print_outcome({"name": name, "audit_id": number}, f"{name}: audit {number}", json=json)


@app.command()
def schema() -> None:
    """Print the JSON schema of `--as json`. Example: `strikecast audit schema > audit.schema.json`"""
    from pipelines.monitoring.audit.reports import json_schema

    console.print_json(json_schema())


def _print(audit: Audit, output: Format) -> None:
    from pipelines.cli.audit_report import audit_report
    from pipelines.domain.monitoring.audit.document import audit_document
    from pipelines.monitoring.audit import reports

    document = audit_document(audit)
    match output:
        case Format.TERMINAL:
            console.result.print(audit_report(document), crop=False)
        case Format.MARKDOWN:
            sys.stdout.write(reports.markdown(document))
        case Format.HTML:
            sys.stdout.write(reports.html(document))
        case Format.JSON:
            console.print_json(reports.json_document(audit))
        case Format.PROMETHEUS:
            sys.stdout.write(reports.metrics(audit).decode())
