"""The whole system while its processes are killed or paused."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import dagster as dg
import orjson
import psutil
import pytest
from playwright.sync_api import sync_playwright
from processes import has_ended, postmaster
from programs import chromium
from pydantic import SecretStr
from system import System, running_up
from waiting import TIMEOUT_SECONDS, wait_until
from webhooks import Receiver, running_webhook

from pipelines.configuration.sections import AlertSettings, MarketSettings
from pipelines.definitions import defs
from pipelines.deployment import dagster_database
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.errors import DatabaseError, MarketError
from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.markets.address import market_url
from pipelines.markets.client import ClientSettings, MarketClient
from pipelines.monitoring.alert_delivery import update_alerts
from pipelines.monitoring.ticking import DAEMONS, Ticking, tick_problems, ticking
from pipelines.orchestration.jobs import LIVE_JOB
from pipelines.orchestration.run_reaper import IN_PROGRESS
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.monitoring.dagster_state import read_ticks
from pipelines.storage.postgres.connection import Role

#: The duration of a test, and the minute before the hour in which a successor waits.
HAND_OVER_MARGIN = timedelta(seconds=150)


#: A part of each child's command line.
PARTS = {
    "code_server": " code-server start ",
    "webserver": "pipelines.web.dagster_ui",
    "daemon": "dagster._daemon",
    "page": " serve ",
    "log_writer": "log_writer",
    "simulated_exchange": " markets simulate ",
}
#: Its address is the same after a replacement.
SIMULATED = {"STRIKECAST_MARKETS__SOURCE": "simulated"}


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, type[Receiver]]]:
    with running_webhook() as found:
        yield found


@pytest.fixture(scope="module")
def up(system: System, webhook: tuple[str, type[Receiver]]) -> Iterator[System]:
    """A running system with a live session, markets of the simulated exchange, and an address for alerts."""
    alerts = json.dumps({"urls": [webhook[0]]})
    with running_up(system, system.home / "supervision.log", STRIKECAST_ALERTS=alerts, **SIMULATED):
        wait_until(lambda: fresh(system), "a first session")
        yield system


def payload(system: System) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(probabilities_path(system.settings.output_dir, "BTC").read_bytes())
    return found


def fresh(system: System, after: int = -1) -> bool:
    """Whether the file is fresh and was written by a session later than `after`."""
    path = probabilities_path(system.settings.output_dir, "BTC")
    return path.exists() and payload(system)["status"] == "replay" and (payload(system)["session"] or 0) > after


def writer(system: System) -> tuple[int, psutil.Process]:
    """The number of the leading session, and its process."""
    fence = orjson.loads((system.settings.output_dir / FENCE).read_bytes())
    return fence["session"], psutil.Process(fence["pid"])


@pytest.fixture(autouse=True)
def _no_hand_over_during_a_test(up: System) -> None:
    """Wait until no regular hand-over is near: a successor waits from a minute before the hour."""

    def is_far() -> bool:
        with up.database.connect("test", Role.READER) as connection:
            state = read_lock_state(connection)
        left = state.hands_over_at and state.hands_over_at - datetime.now(UTC)
        return fresh(up) and state.waiting == 0 and left is not None and left > HAND_OVER_MARGIN

    wait_until(is_far, "a session that goes on for a while", TIMEOUT_SECONDS + 2 * HAND_OVER_MARGIN.total_seconds())


def children(system: System) -> dict[str, psutil.Process]:
    """The child processes of `up`, by name."""
    found = {}
    for pid, _ in orjson.loads((system.home / "up.json").read_bytes())["children"]:
        with suppress(psutil.NoSuchProcess):
            words = " ".join(psutil.Process(pid).cmdline())
            found |= {name: psutil.Process(pid) for name, part in PARTS.items() if part in words}
    return found


def replaced(system: System, name: str, before: psutil.Process) -> bool:
    return has_ended(before) and children(system).get(name, before) != before


def alerted(system: System, key: str) -> bool:
    path = system.home / "logs" / "alerts.jsonl"
    return path.exists() and any(orjson.loads(line)["key"] == key for line in path.read_bytes().splitlines())


def session_row(system: System, number: int) -> tuple[str, str | None, str | None]:
    with system.database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT status, ended_because, dagster_run_id FROM live_data.session WHERE session_id = %s", [number]
        ).fetchone()
    assert row is not None
    return row


def run_status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_killed_session_is_replaced_and_its_run_marked_as_failed(up: System, instance: dg.DagsterInstance) -> None:
    def started() -> float:
        record = instance.get_run_record_by_id(session_row(up, writer(up)[0])[2] or "")
        assert record is not None
        return record.start_time or time.time()

    wait_until(lambda: time.time() - started() > 12, "a run that is not just starting")
    number, process = writer(up)
    run_id = session_row(up, number)[2]
    assert run_id is not None
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: fresh(up, number), "the successor's file")
    assert session_row(up, number)[0] == "crashed"
    wait_until(lambda: run_status(instance, run_id) is dg.DagsterRunStatus.FAILURE, "the dead run's end")


def test_a_paused_session_is_replaced(up: System) -> None:
    number, paused = writer(up)
    paused.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: fresh(up, number), "the successor's file")
        assert session_row(up, number)[0] == "crashed"
    finally:
        paused.send_signal(signal.SIGCONT)
    wait_until(lambda: has_ended(paused), "the end of the paused session")
    assert fresh(up, number)


def test_a_killed_server_and_its_session_are_restarted(up: System) -> None:
    number = payload(up)["session"]
    postmaster(up.settings.embedded_dir / "data").kill()
    wait_until(lambda: fresh(up, number), "a session after the server's crash")


@pytest.mark.needs("Chromium")
def test_the_page_of_the_system_shows_its_ladder(up: System) -> None:
    page_url = orjson.loads((up.home / "up.json").read_bytes())["page_url"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.goto(f"{page_url}/?symbol=BTC")
        page.locator("#rungs tr").nth(20).wait_for()
        first = page.locator("#price").inner_text()
        wait_until(lambda: page.locator("#price").inner_text() != first, "the next price")


def test_a_cancelled_run_stops_with_a_final_snapshot(up: System, instance: dg.DagsterInstance) -> None:
    number = payload(up)["session"]
    run_id = session_row(up, number)[2]
    assert run_id is not None
    cancelled = cancel(up, run_id)
    assert '"runId"' in cancelled, cancelled
    wait_until(lambda: run_status(instance, run_id) is dg.DagsterRunStatus.CANCELED, "the run's end")
    status, because, _ = session_row(up, number)
    assert (status, because) == ("stopped", "stopped by SIGINT")
    with up.database.connect("test", Role.READER) as connection:
        last = connection.execute(
            "SELECT snapshot_type, status FROM live_data.v_latest_snapshots WHERE session_id = %s", [f"live-{number}"]
        ).fetchone()
    assert last == ("on_stop", "stopped")
    observed = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records
    metadata = observation(observed[-1])
    assert {"ticks", "cycles", "overruns", "seconds_stale", "latency", "latency_p99_ms", "cache_hit_rate_pct"} <= set(
        metadata
    )
    assert metadata["cycles"].value > 0
    wait_until(lambda: fresh(up, number), "the next session")


def observation(record: Any) -> Any:
    return record.event_log_entry.dagster_event.event_specific_data.asset_observation.metadata


def cancel(system: System, run_id: str) -> str:
    """Cancel a run as the UI does."""
    url = orjson.loads((system.home / "up.json").read_bytes())["ui_url"]
    body = orjson.dumps(
        {
            "query": "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunSuccess { run { runId } } } }",
            "variables": {"id": run_id},
        }
    )
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", data=body, headers=headers)  # noqa: S310 (our own address)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return str(answer.read().decode())


def test_a_hot_standby_takes_over(up: System) -> None:
    number, first = writer(up)
    second = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "live", "--wait"],
        env=up.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: waiting(up) == 1, "the standby")
        first.send_signal(signal.SIGKILL)
        wait_until(lambda: fresh(up, number), "its file")
        assert writer(up)[1].pid == second.pid
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(TIMEOUT_SECONDS)
    wait_until(lambda: fresh(up, number + 1), "a session of the sensor's again")


def waiting(system: System) -> int:
    with system.database.connect("test", Role.READER) as connection:
        return read_lock_state(connection).waiting


def test_only_live_runs_are_in_progress(up: System, instance: dg.DagsterInstance) -> None:
    def alive() -> int:
        return len(instance.get_runs(dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS)))

    wait_until(lambda: alive() <= 2, "the end of dead runs")


def test_up_delivers_what_others_store(up: System, webhook: tuple[str, type[Receiver]]) -> None:
    settings = up.settings.model_copy(update={"alerts": AlertSettings(urls=(SecretStr(webhook[0]),))})
    problem = Problem("of a test", "nothing is wrong", RunbookHeading.JOB)
    update_alerts(settings, [problem], datetime.now(UTC), lambda _: None)
    wait_until(lambda: any("of a test" in one["title"] for one in webhook[1].received), "the message")


def test_every_schedule_sensor_and_daemon_ticks_and_is_named_when_it_stops(up: System) -> None:
    def read_ticking(now: datetime) -> list[Ticking]:
        with dagster_database(up.settings, up.database).connect("test", None) as connection:
            return ticking(read_ticks(connection), now)

    declared = {f"schedule {one.name}" for one in defs.schedules or ()} | {
        f"sensor {one.name}" for one in defs.sensors or ()
    }
    yesterday = datetime.now(UTC) - timedelta(days=1)
    wait_until(
        lambda: not tick_problems(read_ticking(datetime.now(UTC)), yesterday, datetime.now(UTC)), "a tick of each"
    )
    found = read_ticking(datetime.now(UTC))
    assert {one.name for one in found} >= declared | {f"daemon {name}" for name in DAEMONS}
    [stopped] = tick_problems(found, yesterday, datetime.now(UTC) + timedelta(hours=2))
    assert stopped.level == len(found)
    assert "schedule nightly_backup" in stopped.message
    [silent] = tick_problems(found, yesterday, datetime.now(UTC) + timedelta(minutes=10))
    assert "sensor live_supervisor" in silent.message
    assert "schedule" not in silent.message, "Dagster records once an hour that it looked at a schedule"


@pytest.mark.parametrize("name", PARTS)
def test_a_hung_process_is_replaced_and_reported(up: System, name: str) -> None:
    before = children(up)
    before[name].send_signal(signal.SIGSTOP)
    wait_until(lambda: replaced(up, name, before[name]), f"another {name}")
    wait_until(lambda: alerted(up, f"process {name}"), "an alert")
    after = children(up)
    assert {other: after[other] for other in PARTS if other != name} == {
        other: before[other] for other in PARTS if other != name
    }
    log = (up.home / "supervision.log").read_text()
    assert re.search(rf"{name} did not respond for \d+ s; starting another", log)


def test_a_killed_simulated_exchange_is_replaced_at_its_address(up: System) -> None:
    settings = up.settings.model_copy(update={"markets": MarketSettings(source=MarketSource.SIMULATED)})

    def trades() -> bool:
        async def ask() -> bool:
            async with MarketClient(ClientSettings(base_url=market_url(settings))) as client:
                events, _ = await client.events("KXBTCD")
                return (await client.exchange_status()).trading_active and bool(events[0].markets.listings)

        with suppress(MarketError, IndexError):
            return asyncio.run(ask())
        return False

    wait_until(trades, "markets on the replayed prices")
    before, url = children(up)["simulated_exchange"], market_url(settings)
    assert f"simulated exchange: {url} (nothing can be traded)" in (up.home / "supervision.log").read_text()
    before.kill()
    wait_until(lambda: replaced(up, "simulated_exchange", before), "another simulated exchange")
    wait_until(trades, "markets on the replayed prices")
    assert market_url(settings) == url


def test_a_killed_log_writer_does_not_stop_the_system(up: System) -> None:
    before = children(up)
    before["log_writer"].kill()
    wait_until(lambda: replaced(up, "log_writer", before["log_writer"]), "another log writer")
    assert all(process.is_running() for name, process in before.items() if name != "log_writer")


def test_a_session_is_replaced_although_the_code_server_hangs(up: System) -> None:
    hung, (number, session) = children(up)["code_server"], writer(up)
    hung.send_signal(signal.SIGSTOP)
    session.kill()
    wait_until(lambda: fresh(up, number), "the file of another session")
    assert has_ended(hung)


def test_a_hung_server_is_restarted_and_reported(up: System) -> None:
    hung = postmaster(up.settings.embedded_dir / "data")
    hung.send_signal(signal.SIGSTOP)
    wait_until(lambda: has_ended(hung), "the end of the hung server")
    wait_until(lambda: alerted(up, "process database server"), "an alert")

    def works() -> bool:
        with suppress(DatabaseError), up.database.connect("test", Role.READER):
            return fresh(up)
        return False

    wait_until(works, "the server and a session")


def test_a_second_up_on_the_same_database_is_refused(up: System, tmp_path: Path) -> None:
    refused = up.run("up", "--port", "0", STRIKECAST_HOME=str(tmp_path), STRIKECAST_DATABASE_URL=up.database.url)
    assert refused.returncode == 1
    assert f"another strikecast runs on the database at {up.database.describe()}: on {gethostname()}" in refused.stderr
    assert f"with home folder {up.home}" in refused.stderr
    assert re.search(r"Dagster UI http://\S+, last heartbeat \d+ s ago; stop it", refused.stderr)
    assert fresh(up)
