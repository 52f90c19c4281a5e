"""The forms of an audit: terminal, Markdown, page, JSON and metrics tell the same figures."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from auditing import audit, dashboard, history, metrics_of
from markupsafe import escape
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from typer.main import get_command

from pipelines.cli.main import app
from pipelines.domain.monitoring.audit.document import Document, document_of, summary
from pipelines.domain.monitoring.audit.original import CELLS_WANTED, Mark, claims
from pipelines.monitoring.audit import json_document as published
from pipelines.monitoring.audit import prometheus as metrics
from pipelines.monitoring.audit import render
from pipelines.monitoring.audit.run import advice

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def document() -> Document:
    return document_of(audit(), history())


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return render.html(document)


def cells(document: Document) -> list[str]:
    return [cell for section in document.sections for row in section.rows for cell in row]


def test_page_and_markdown_have_every_cell_of_every_section(document: Document, page: str) -> None:
    markdown = render.markdown(document)
    for section in document.sections:
        assert f">{escape(section.title)}</h2>" in page
        assert f"\n## {section.title}\n" in markdown
    shown = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert [unescape(cell) for cell in shown] == cells(document)
    for cell in cells(document):
        assert cell.replace("|", "\\|") in markdown, cell


def test_the_terminal_has_every_number_at_eighty_columns(document: Document) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render.terminal(document))
    told = console.export_text()
    for section in document.sections:
        for row in section.rows:
            for number in row[section.text_columns :]:
                assert number in told, (section.title, number)


def test_what_people_read_are_the_figures_that_machines_get(document: Document) -> None:
    raw = published.plain(audit())
    by_key = {one["key"]: one["value"] for one in raw["figures"]}
    assert by_key["query p95 {query=lookup_rows, symbol=BTC}"] == pytest.approx(0.86)
    [live] = [one for one in document.sections if one.title.startswith("The live session")]
    assert live.rows == (("write", "2 ms", "5 ms", "9.5 ms", "20 ms"), ("total", "2 ms", "5 ms", "9.5 ms", "20 ms"))
    assert "longest time between refreshes 1.25 s" in live.lead
    told = {(one["target"]["title"], one["state"]) for one in raw["judgements"]}
    [section] = [one for one in document.sections if one.title == "Targets of service"]
    assert [row[1] for row in section.rows] == [one["state"] for one in raw["judgements"]]
    assert ("longest time between refreshes", "missed") in told
    assert ("time without retention", "not measured") in told
    assert raw["scorecard"]["grade"] in document.title


def test_the_page_needs_nothing_else_and_takes_the_colours_of_its_reader(page: str) -> None:
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert "<script" not in page
    assert "url(" not in page.replace("url(#", "")
    assert page.count("<svg") == 5
    assert "currentColor" in page
    assert "#010203" not in page
    assert "color-scheme: light dark" in page
    assert "@media print" in page


def test_json_keeps_to_the_published_schema() -> None:
    schema = json.loads((DOCS / "audit.schema.json").read_text())
    assert schema == published.schema(), "print it anew: strikecast audit schema > docs/audit.schema.json"
    raw: dict[str, Any] = orjson.loads(orjson.dumps(published.plain(audit())))
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
    families = text_string_to_metric_families(metrics.text(audit()).decode())
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
    assert "time_without_retention" not in met, "what was not measured is neither"
    assert {one.labels["severity"]: one.value for one in found["strikecast_audit_findings"]}["P2"] >= 2
    assert found["strikecast_audit_timestamp_seconds"][0].value == pytest.approx(audit().finished_at.timestamp())


def test_the_dashboard_asks_for_what_is_exported() -> None:
    found = {name: set(samples[0].labels) for name, samples in exported().items()}
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


def test_a_summary_is_what_one_wants_to_know_first(document: Document) -> None:
    short = summary(document)
    assert [one.title for one in short.sections] == [
        "What to look at",
        "Targets of service",
        "Scorecard",
        "Over the weeks",
    ]
    picture = render.picture(short)
    assert picture.strip().startswith("![over the weeks](data:image/png;base64,iVBOR")
    assert render.picture(document_of(audit())) == "", "without a history there is nothing to draw"


def test_every_command_that_an_audit_advises_is_one() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for title, told in advice().items():
        program, *words = told.command.split()
        assert program == "strikecast", title
        found = commands[words[0]]
        if hasattr(found, "commands"):
            assert words[1] in found.commands, title


def test_the_originals_figures_give_what_we_say() -> None:
    by_name = {claim.what: claim for claim in claims()}
    assert CELLS_WANTED == 8_840_181
    assert by_name["lookup, stored"].gives == "12,239 of 8,840,181 are missing"
    assert by_name["processor, what refreshes"].gives.startswith("-36.1 points (-97.3 %)")
    assert by_name["processor, what refreshes"].mark is Mark.UNVERIFIABLE
    assert by_name["memory, what refreshes (RSS)"].gives == "220 MB in 2 processes, then 209 MB in 4: -5.0 %"
    assert by_name["fingerprints, stored"].gives == "6.7 times as much; with the lookup of 1.15 GB 683 times"
    assert by_name["load of the machine, per core"].gives.startswith("the mean of (8.9, 7.36, 7.03) is 7.76")
    assert by_name["processor, account sync"].gives == "+18.5 points (+67.5 %)"
    assert by_name["processor, the top process"].gives.startswith("-4.5 points (-5.2 %)")
    assert by_name["score"].gives.startswith("the mean of its six areas is 64.2")
    ours = {claim.what: claim.ours.told(audit().figures) for claim in claims() if claim.ours is not None}
    assert ours["processor, what refreshes"] == "1.5 % of a core"
    assert ours["lookup, stored"] == "87.7 MiB", "rows, TOAST and indexes once each"
    assert ours["a row inserted, p50"] == "15.5 ms"
    assert ours["start"] is None
