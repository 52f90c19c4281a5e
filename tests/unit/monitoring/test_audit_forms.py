"""Formats of an audit: terminal, Markdown, page, JSON and metrics show the same measurements."""

import json
import re
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from auditing import AT, audit, dashboard, metrics_of, tick_states
from markupsafe import escape
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from typer.main import get_command

from pipelines.cli.audit_report import audit_report
from pipelines.cli.main import app
from pipelines.domain.monitoring.audit.document import Document, audit_document
from pipelines.monitoring.audit.declarations import explanations
from pipelines.monitoring.audit.reports import html, json_document, json_schema, markdown, metrics
from pipelines.web.ticks import tick_metrics

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def document() -> Document:
    return audit_document(audit())


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return html(document)


def cells(document: Document) -> list[str]:
    return [cell for section in document.sections for row in section.rows for cell in row]


def test_page_and_markdown_have_every_cell_of_every_section(document: Document, page: str) -> None:
    text = markdown(document)
    for section in document.sections:
        assert f">{escape(section.title)}</h2>" in page
        assert f"\n## {section.title}\n" in text
    shown = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert [unescape(cell) for cell in shown] == cells(document)
    for cell in cells(document):
        assert cell.replace("|", "\\|") in text, cell


@pytest.mark.parametrize("width", [60, 79, 80, 120, 200])
def test_the_terminal_has_every_number_command_and_word_at_any_width(document: Document, width: int) -> None:
    console = Console(width=width, record=True, file=StringIO())
    console.print(audit_report(document), crop=False)
    shown = console.export_text()
    words = set(shown.split())
    for section in document.sections:
        for row in section.rows:
            for name, cell in zip(section.header, row, strict=True):
                is_whole = name == "command" or cell in row[section.text_columns :]
                assert cell in shown if is_whole else set(cell.split()) <= words, (section.title, cell)


def test_no_report_compares_with_another_system(document: Document, page: str) -> None:
    for text in (markdown(document), page, json.dumps(json_document(audit())), metrics(audit()).decode()):
        assert "original" not in text.lower()


def test_json_and_report_have_the_same_values(document: Document) -> None:
    raw = json_document(audit())
    by_key = {one["key"]: one["value"] for one in raw["figures"]}
    assert by_key["query p95 {query=lookup_rows, symbol=BTC}"] == pytest.approx(0.86)
    [live] = [one for one in document.sections if one.title.startswith("Live session")]
    assert live.rows == (("write", "2 ms", "5 ms", "9.5 ms", "20 ms"), ("total", "2 ms", "5 ms", "9.5 ms", "20 ms"))
    assert ("live longest gap", "1.25 s") in document.sections[-2].rows
    states = {(one["target"]["title"], one["state"]) for one in raw["judgements"]}
    [section] = [one for one in document.sections if one.title == "Service targets"]
    assert [row[1] for row in section.rows] == [one["state"] for one in raw["judgements"]]
    assert ("longest time between refreshes", "missed") in states
    assert ("time without retention", "not measured") in states
    assert raw["scorecard"]["grade"] in document.title


def test_the_page_has_no_external_resources_and_follows_the_colour_scheme(page: str) -> None:
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert "<script" not in page
    assert "url(" not in page.replace("url(#", "")
    assert "color-scheme: light dark" in page
    assert "@media print" in page


def test_json_conforms_to_the_published_schema() -> None:
    schema = json.loads((DOCS / "audit.schema.json").read_text())
    assert schema == json_schema(), "regenerate it: strikecast audit schema > docs/audit.schema.json"
    raw: dict[str, Any] = orjson.loads(orjson.dumps(json_document(audit())))
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    validator.check_schema(schema)
    validator.validate(raw)
    for broken in (
        raw | {"figures": [{**raw["figures"][0], "samples": []}]},
        raw | {"more": 1},
        {name: value for name, value in raw.items() if name != "gaps"},
    ):
        assert not validator.is_valid(broken)


def exported() -> dict[str, list[Any]]:
    families = text_string_to_metric_families(metrics(audit()).decode())
    return {family.name: family.samples for family in families}


def test_metrics_are_in_base_units_with_their_labels() -> None:
    found = exported()
    [p95] = [one for one in found["strikecast_query_seconds"] if one.labels["statistic"] == "p95"]
    assert (p95.labels["query"], p95.labels["symbol"], p95.value) == ("lookup_rows", "BTC", pytest.approx(0.86e-3))
    assert found["strikecast_process_cpu_cores"][0].value == pytest.approx(0.015)
    assert found["strikecast_session_availability_ratio"][0].value == pytest.approx(0.9995)
    assert found["strikecast_lookup_difference_ratio"][0].value == pytest.approx(0.0001)
    met = {one.labels["target"]: one.value for one in found["strikecast_target_met"]}
    assert met["longest_time_between_refreshes"] == 0
    assert met["tick_to_file_p99"] == 1
    assert "time_without_retention" not in met, "it was not measured"
    assert {one.labels["severity"]: one.value for one in found["strikecast_audit_findings"]}["P2"] >= 2
    assert found["strikecast_audit_timestamp_seconds"][0].value == pytest.approx(audit().finished_at.timestamp())


def test_the_dashboard_queries_exported_metrics() -> None:
    found = {name: set(samples[0].labels) for name, samples in exported().items()}
    for family in text_string_to_metric_families(tick_metrics(tick_states(AT), AT).decode()):
        found[family.name] = set(family.samples[0].labels)
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            names = metrics_of(target)
            assert names
            assert names <= found.keys(), panel["title"]
            for name in names:
                assert set(re.findall(r"(\w+)=~?\"", target["expr"])) <= found[name], panel["title"]
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= found[name], panel["title"]


def test_every_command_in_a_finding_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for kind, explanation in explanations().items():
        program, *words = explanation.command.split() or [""]
        if program != "strikecast":
            assert program in {"", "psql"}, kind
            continue
        found = commands[words[0]]
        if hasattr(found, "commands"):
            assert words[1] in found.commands, kind
