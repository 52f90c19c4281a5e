"""The Dagster UI of `strikecast up`: its own pages can do everything, other web sites nothing."""

import json
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from threading import Thread
from typing import Any
from urllib.parse import quote

import dagster as dg
import orjson
import pytest
from forged_requests import FORGED, HANDSHAKE, LINK, Target, forgeries, mutations
from playwright.sync_api import Browser, Locator
from playwright.sync_api import TimeoutError as BrowserTimeoutError
from system import System, running_up
from waiting import TIMEOUT_SECONDS, wait_until
from websockets.sync.client import connect

from pipelines.definitions import defs
from pipelines.service.health_checks import http_responds

#: A header that Dagster adds to each of its responses.
DAGSTERS = "x-dagster-call-counts"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def addresses(system: System) -> Iterator[dict[str, Any]]:
    with create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"STRIKECAST_ALLOWED_HOSTS": '["ui.example.org"]', "STRIKECAST_UI_ANALYSTS_PORT": str(port)}
    with running_up(system, system.home / "up.log", **settings) as found:
        yield {**found, "analysts_url": f"http://127.0.0.1:{port}"}


@pytest.fixture(scope="module")
def analysts_ui(addresses: dict[str, Any]) -> Target:
    target = Target(addresses["analysts_url"])
    wait_until(lambda: http_responds(f"{target.url}/server_info"), "the analysts' UI")
    return target


@pytest.fixture(scope="module")
def ui(addresses: dict[str, Any]) -> Target:
    return Target(addresses["ui_url"])


def test_no_forged_mutation_is_executed(ui: Target) -> None:
    executed, count = [], 0
    operations = mutations(ui)
    assert {"launchRun", "stopSensor", "terminateRuns", "wipeAssets"} < set(operations)
    for name, operation in operations.items():
        linked = f"/graphql?query={quote(operation)}"
        body = json.dumps({"query": operation}).encode()
        requests = [*((*one, b"") for one in forgeries(linked)), ("link", "GET", linked, LINK, b"")]
        broken = linked.replace("/graphql", "/graphql%0a")  # which Starlette's route matches
        requests += [("line break", "GET", broken, {}, b""), ("line break", "GET", broken, LINK, b"")]
        requests += [("program", "GET", linked, {}, b""), ("page", "GET", linked, {"Accept": "text/html"}, b"")]
        for kind, headers in FORGED.items():
            requests.append((f"{kind} JSON", "POST", "/graphql", {**headers, **JSON}, body))
            requests.append((f"{kind} text", "POST", "/graphql", {**headers, "Content-Type": "text/plain"}, body))
        for kind, method, path, headers, content in requests:
            answer = ui.send(method, path, headers, content)
            count += 1
            if answer.status not in {400, 403, 405} or DAGSTERS in answer.headers:
                executed.append((name, kind, answer.status))
    assert executed == []
    assert count > 40 * 5 * len(FORGED)


def test_a_websocket_of_the_ui_executes_no_mutation(ui: Target) -> None:
    url = f"{ui.url.replace('http', 'ws', 1)}/graphql"
    with connect(url, origin=ui.url, subprotocols=["graphql-ws"]) as socket:  # type: ignore[arg-type,list-item]
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv(TIMEOUT_SECONDS))["type"] == "connection_ack"
        for name, operation in mutations(ui).items():
            socket.send(json.dumps({"id": name, "type": "start", "payload": {"query": operation}}))
            assert json.loads(socket.recv(TIMEOUT_SECONDS))["type"] == "error", name


@pytest.mark.parametrize("path", ["/", "/server_info", "/notebook", "/logs/x", "/download_debug/x"])
def test_other_sites_read_nothing_from_the_ui(ui: Target, path: str) -> None:
    passed = [(kind, answer.status) for kind, answer in sent(ui, path) if DAGSTERS in answer.headers]
    assert passed == []


@pytest.mark.parametrize("kind", ["materialization", "check", "observation"])
def test_other_sites_report_no_events(ui: Target, kind: str) -> None:
    path = f"/report_asset_{kind}/forged"
    assert [(kind, answer.status) for kind, answer in sent(ui, path) if answer.status not in {400, 403, 405}] == []


@pytest.mark.parametrize("path", ["/", "/api/symbols", "/api/BTC", "/events/BTC", "/health", "/static/page.js"])
def test_other_sites_read_nothing_from_the_page(addresses: dict[str, Any], path: str) -> None:
    page = Target(addresses["page_url"])
    assert [(kind, answer.status) for kind, answer in sent(page, path) if answer.status not in {400, 403}] == []


def sent(target: Target, path: str) -> Iterator[tuple[str, object]]:
    for kind, method, where, headers in forgeries(path):
        yield kind, target.send(method, where, headers)


def test_own_pages_programs_links_and_allowed_names_are_served(ui: Target) -> None:
    for host in ("localhost:{}", "127.0.0.1:{}", "LOCALHOST", "[::1]:{}", "ui.example.org", "ui.example.org:443"):
        assert ui.send("GET", "/server_info", {"Host": host}).status == 200, host
    assert ui.send("GET", "/runs", LINK).status == 200
    assert ui.send("GET", "/graphql", {"Accept": "text/html"}).status == 200
    proxied = {"Host": "ui.example.org", "Origin": "https://ui.example.org", "Sec-Fetch-Site": "same-origin"}
    assert ui.send("POST", "/graphql", {**JSON, **proxied}, b'{"query": "{ version }"}').status == 200
    assert ui.send("GET", "/graphql", HANDSHAKE | proxied).status == 101
    assert ui.send("GET", "/", LINK).headers["x-frame-options"] == "SAMEORIGIN"


SCHEDULES = """{ schedulesOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName:
"strikecast"}) { ... on Schedules { results { name scheduleState { id } } } } }"""


def test_a_schedule_that_is_switched_off_is_an_alert_until_it_is_on(system: System, ui: Target) -> None:
    [state] = [
        one["scheduleState"]["id"]
        for one in ui.ask(SCHEDULES)["schedulesOrError"]["results"]
        if one["name"] == "nightly_backup"
    ]
    result = "{ __typename ... on ScheduleStateResult { scheduleState { status } } }"
    stop = f"mutation($id: String!) {{ stopRunningSchedule(id: $id) {result} }}"
    assert ui.ask(stop, {"id": state})["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED"
    wait_until(lambda: is_active(system), "the alert")
    start = f"mutation($of: ScheduleSelector!) {{ startSchedule(scheduleSelector: $of) {result} }}"
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "strikecast",
        "scheduleName": "nightly_backup",
    }
    assert ui.ask(start, {"of": selector})["startSchedule"]["scheduleState"]["status"] == "RUNNING"
    wait_until(lambda: not is_active(system), "its end")


def is_active(system: System) -> bool:
    found = orjson.loads((system.home / "alerts.json").read_bytes())["lasting"].get("switched off")
    return found is not None and "switched off: schedule nightly_backup;" in found["message"]


@pytest.mark.needs("Chromium")
def test_a_run_is_launched_from_the_ui_and_its_events_are_shown_live(
    browser: Browser, ui: Target, instance: dg.DagsterInstance
) -> None:
    refused: list[str] = []
    frames: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(1_000 * TIMEOUT_SECONDS)
    page.on("response", lambda one: refused.append(one.url) if one.status >= 400 else None)
    page.on("websocket", lambda one: one.on("framereceived", lambda data: frames.append(str(data))))
    for path, text in (
        ("/assets", "active_generation"),
        ("/automation", "nightly_backup"),
        ("/jobs", "make_partitions"),
    ):
        page.goto(f"{ui.url}{path}")
        page.get_by_text(text).first.wait_for()
    page.goto(f"{ui.url}/locations/strikecast/jobs/make_partitions/playground")
    page.get_by_role("button", name="Launch Run").click()

    def launched() -> list[dg.DagsterRun]:
        return list(instance.get_runs(dg.RunsFilter(job_name="make_partitions")))

    wait_until(launched, "the run")
    [run] = launched()
    page.goto(f"{ui.url}/runs/{run.run_id}")
    page.get_by_text("RUN_SUCCESS").first.wait_for()
    assert any("pipelineRunLogs" in frame for frame in frames)
    assert refused == []


def test_reload_definitions_loads_the_code_again_and_keeps_the_live_session(
    ui: Target, instance: dg.DagsterInstance
) -> None:
    def running() -> set[str]:
        runs = instance.get_runs(dg.RunsFilter(job_name="live_refresh", statuses=[dg.DagsterRunStatus.STARTED]))
        return {run.run_id for run in runs}

    wait_until(running, "the live session")
    before = running()
    servers = """{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { loadStatus versionKey } } } }"""
    [old] = ui.ask(servers)["locationStatusesOrError"]["entries"]
    reload = """mutation { reloadRepositoryLocation(repositoryLocationName: "strikecast") {
        ... on WorkspaceLocationEntry { loadStatus locationOrLoadError { __typename } } } }"""
    answer = ui.ask(reload)["reloadRepositoryLocation"]
    assert answer == {"loadStatus": "LOADED", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
    [new] = ui.ask(servers)["locationStatusesOrError"]["entries"]
    assert new["versionKey"] != old["versionKey"]
    assert before <= running()


ATTACK = """<!doctype html><title>evil</title><iframe src="{ui}/runs"></iframe>
<form method="post" enctype="text/plain" action="{ui}/graphql?query=mutation%7BsetNuxSeen%7D"></form>
<img src="{ui}/graphql?query=mutation%7BsetNuxSeen%7D">"""
FETCH = (
    """(ui) => fetch(ui + "/graphql?query=mutation%7BsetNuxSeen%7D", {method: "POST", mode: "no-cors", body: "x"})"""
)
SOCKET = """(ui) => new Promise((resolve) => {
    const socket = new WebSocket(ui.replace("http", "ws") + "/graphql", "graphql-ws");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})"""


@pytest.mark.needs("Chromium")
def test_a_page_of_another_site_reaches_nothing_in_a_browser(browser: Browser, ui: Target) -> None:
    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ATTACK.format(ui=ui.url).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        statuses: dict[str, int] = {}
        page.on(
            "response", lambda one: statuses.update({f"{one.request.method} {one.request.resource_type}": one.status})
        )
        page.goto(f"http://localhost:{server.server_address[1]}/")
        page.evaluate(FETCH, ui.url)
        assert page.evaluate(SOCKET, ui.url) == "refused"
        wait_until(lambda: {"GET image", "POST fetch"} <= set(statuses), "the responses")
        with page.expect_navigation():
            page.evaluate("document.forms[0].submit()")
        assert "requests of other sites are refused" in page.content()
        assert statuses["GET image"] == statuses["POST fetch"] == statuses["POST document"] == 403
        server.shutdown()


def test_the_analysts_ui_shows_and_changes_nothing(analysts_ui: Target, instance: dg.DagsterInstance) -> None:
    assert len(analysts_ui.ask(SCHEDULES)["schedulesOrError"]["results"]) == len(list(defs.schedules or ()))
    where = 'repositoryName: "__repository__", repositoryLocationName: "strikecast"'
    attempts = (
        f'startSchedule(scheduleSelector: {{{where}, scheduleName: "nightly_backup"}}) {{ __typename }}',
        f'startSensor(sensorSelector: {{{where}, sensorName: "watchdog"}}) {{ __typename }}',
        f'launchRun(executionParams: {{selector: {{{where}, jobName: "make_partitions"}}}}) {{ __typename }}',
        'wipeAssets(assetPartitionRanges: [{assetKey: {path: ["price_history"]}}]) { __typename }',
        "reloadWorkspace { __typename }",
        'setConcurrencyLimit(concurrencyKey: "forged", limit: 0)',
    )
    bodies = [json.dumps({"query": f"mutation {{ {attempt} }}"}).encode() for attempt in attempts]
    answers = [analysts_ui.send("POST", "/graphql", JSON, body).body for body in bodies]
    assert [one for one in answers if b"UnauthorizedError" not in one and b"permission" not in one.lower()] == []
    assert analysts_ui.send("POST", "/report_asset_materialization/forged", JSON, b"{}").status == 401
    assert "forged" not in instance.event_log_storage.get_concurrency_keys()


@pytest.mark.needs("Chromium")
def test_no_run_can_be_launched_in_the_analysts_ui(browser: Browser, ui: Target, analysts_ui: Target) -> None:
    def button(target: Target) -> Locator:
        page = browser.new_page()
        page.set_default_timeout(1_000 * TIMEOUT_SECONDS)
        page.goto(f"{target.url}/locations/strikecast/jobs/make_partitions/playground")
        page.get_by_text("make_partitions").first.wait_for()
        return page.get_by_role("button", name="Launch Run")

    operators = button(ui)
    operators.wait_for()
    wait_until(operators.is_enabled, "the operator's button")
    analysts = button(analysts_ui)
    with suppress(BrowserTimeoutError):  # there is none, or it cannot be used
        analysts.wait_for(timeout=20_000)
        assert not analysts.is_enabled()
