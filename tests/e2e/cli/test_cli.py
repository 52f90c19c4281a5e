"""The command line: output and exit codes."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import command_line, descendants, has_ended, kill_all
from system import System
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.processes.run_titles import run_of_title


def test_help_lists_every_command(system: System) -> None:
    completed = system.run("--help")
    assert completed.returncode == 0
    for command in (
        "up",
        "demo",
        "migrate",
        "ingest",
        "sample",
        "build",
        "rollback",
        "score",
        "promote",
        "ladder",
        "live",
        "watch",
        "serve",
        "status",
        "export",
        "import",
        "dagster",
    ):
        assert re.search(rf"^│ {command} ", completed.stdout, re.MULTILINE), command


def test_a_ladder_as_json_has_21_strikes(system: System) -> None:
    completed = system.run("ladder", "BTC", "--price", "95000", "--ttc", "900", "--momentum", "0.02", "--json")
    assert completed.returncode == 0, completed.stderr
    payload = json.loads(completed.stdout)
    assert len(payload["probabilities"]) == 21
    assert payload["base_strike"] == 95000
    assert (payload["model"], payload["momentum_bucket"]) == ("standardised", None)
    assert payload["sigma"] > 0
    assert payload["group"] in range(1, 10)
    assert all(i["prob_beyond_low"] < i["prob_beyond_high"] for i in payload["intervals"])
    assert all(0 <= row["prob_beyond"] <= 100 for row in payload["probabilities"])


def test_a_printed_ladder_fits_80_columns(system: System) -> None:
    completed = system.run("ladder", "BTC", "--price", "95000", "--ttc", "900", COLUMNS="80")
    assert completed.returncode == 0, completed.stderr
    assert "95,000" in completed.stdout
    assert max(len(line) for line in completed.stdout.splitlines()) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["build", "XRP"],
            "symbol 'XRP' is not configured (configured: BTC, ETH): `strikecast symbol add XRP --strike-tier USD`",
        ),
        (["build", "btc"], "'btc' is not a symbol: use capital letters and digits, such as BTC"),
        (
            ["ladder", "ETH", "--price", "3500", "--ttc", "9"],
            "no generation is published for ETH: run `strikecast build ETH`",
        ),
        (["rollback", "ETH"], "no generation is published for ETH"),
        (["ingest", "BTC", "nowhere.csv"], "nowhere.csv does not exist"),
        (["import", "fingerprints", "BTC", "nowhere"], "nowhere is not a folder"),
        (["ladder", "BTC", "--price", "1", "--ttc", "9", "--momentum", "nan"], "momentum a number"),
        (["ladder", "BTC", "--price", "1", "--ttc", "9", "--sigma", "0"], "sigma must be positive"),
        (
            ["ladder", "BTC", "--price", "1", "--ttc", "9", "--model", "oracle"],
            "there is no model 'oracle'; there are climatology, momentum, normal, standardised, student_t",
        ),
        (["score", "BTC", "--model", "oracle"], "there is no model 'oracle'"),
        (["score", "BTC", "--from", "2020-01-02", "--to", "2020-01-01"], "its end is not after its start"),
        (["score", "BTC", "--from", "2020-01-01", "--to", "2020-02-01"], "no bars with momentum in the range to score"),
        (["score", "ETH"], "ETH has no bars"),
        (["promote", "BTC", "--model", "oracle"], "there is no model 'oracle'"),
        (["promote", "BTC", "--model", "standardised"], "standardised is the champion of BTC already"),
    ],
)
def test_an_error_is_printed_with_its_remedy_and_without_a_traceback(
    system: System, arguments: list[str], message: str
) -> None:
    completed = system.invoke(*arguments)
    assert completed.returncode == 1
    assert message in completed.stderr
    assert "Traceback" not in completed.stderr
    assert completed.stdout == ""


def test_status_shows_settings_without_secrets(system: System) -> None:
    completed = system.invoke("status", "--json")
    state = json.loads(completed.stdout)
    assert state["settings"]["database"] == "embedded"
    assert state["symbols"][0]["symbol"] == "BTC"
    assert state["symbols"][0]["bars"] > 20_000
    assert state["symbols"][0]["generation"] >= 1


@pytest.mark.parametrize("columns", ["60", "80"])
def test_status_fits_the_terminal(system: System, columns: str) -> None:
    shown = system.invoke("status", COLUMNS=columns, STRIKECAST_FEED="external").stdout
    lines = shown.splitlines()
    assert all(len(line) <= int(columns) or str(system.home) in line for line in lines), "only paths may be longer"
    assert "{" not in shown
    assert {"symbol", "feed", "database", "champion", "bars"} <= {line.split()[0] for line in lines if line}
    settings = system.invoke("status", "--settings").stdout
    shown_settings = [line.split() for line in settings.splitlines()]
    assert ["backup.keep_days", "14", "default"] in shown_settings
    assert ["symbols.BTC.strike_tier_usd", "250.0", "default"] in shown_settings


def test_a_ladder_is_readable_without_utf8(system: System) -> None:
    command = ("ladder", "BTC", "--price", "95000", "--ttc", "900", "--momentum", "0.02")
    completed = system.run(*command, PYTHONIOENCODING="ascii")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.isascii()
    assert "####" in completed.stdout


def test_an_export_to_a_place_that_cannot_be_is_one_line(system: System, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder, reason in ((file, "File exists"), (file / "below", "Not a directory"), (Path("/proc/no"), "No such")):
        completed = system.invoke("export", "fingerprints", "BTC", str(folder))
        assert completed.returncode == 1
        last = completed.stderr.splitlines()[-1]
        assert last.startswith(f"strikecast: the files cannot be written to {folder}: {reason}")
        assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("statement", ["", "  ", ";"])
def test_an_empty_query_is_an_error(system: System, statement: str) -> None:
    completed = system.invoke("query", statement)
    assert completed.returncode == 1
    assert "strikecast: the query is empty: write a SELECT on `price`" in completed.stderr


def test_a_database_that_does_not_exist_is_created_by_migrate(system: System) -> None:
    url = system.database.url_for("not_created_yet")
    completed = system.invoke("ladder", "BTC", "--price", "1", "--ttc", "1", STRIKECAST_DATABASE_URL=url)
    assert completed.returncode == 1
    assert "not_created_yet does not exist: run `strikecast migrate`, which creates it" in completed.stderr


def test_versions_are_printed_on_one_line(system: System) -> None:
    completed = system.invoke("--version")
    assert completed.returncode == 0
    assert re.fullmatch(
        r"strikecast [\d.]+ \(Python [\d.]+, Dagster [\d.]+, embedded PostgreSQL [\d.]+\)\n", completed.stdout
    )


def test_a_password_is_never_printed(system: System) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/strikecast"
    for command in (["status"], ["migrate"], ["ladder", "BTC", "--price", "1", "--ttc", "1"]):
        completed = system.run(*command, STRIKECAST_DATABASE_URL=url)
        assert completed.returncode == 1
        assert "cannot use the database at 127.0.0.1:1/strikecast" in completed.stderr.replace("\n", " ")
        assert "hunter2" not in completed.stdout + completed.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STRIKECAST_UI_PORT", "many", "ui_port"),
        ("STRIKECAST_COLOUR", "blue", "unknown environment variable STRIKECAST_COLOUR"),
        ("STRIKECAST_SYMBOLS", '{"b;": {"strike_tier_usd": 1}}', "capital letters"),
        ("STRIKECAST_SYMBOLS", "{", "SYMBOLS"),
        ("STRIKECAST_DATABASE_URL", "mysql://x", "must start with postgresql://"),
        ("STRIKECAST_MODEL", '{"bucket_limit": 0}', "bucket_limit must be 1..99"),
        ("STRIKECAST_CONFIG", "nowhere.toml", "which is not a file"),
    ],
)
def test_the_error_names_the_invalid_setting(system: System, name: str, value: str, message: str) -> None:
    completed = system.invoke("status", **{name: value})
    assert completed.returncode == 1
    assert message.lower() in completed.stderr.replace("\n", " ").lower()
    assert "Traceback" not in completed.stderr


def test_the_environment_takes_precedence_over_the_settings_file(system: System, tmp_path: Path) -> None:
    config = tmp_path / "strikecast.toml"
    config.write_text('ui_port = 4000\ndagster_database = "other"\n[symbols.SOL]\nstrike_tier_usd = 1.0\n')
    completed = system.invoke("status", "--json", STRIKECAST_CONFIG=str(config), STRIKECAST_UI_PORT="4001")
    assert completed.returncode == 0, completed.stderr
    settings = json.loads(completed.stdout)["settings"]
    assert (settings["ui_port"], settings["dagster_database"]) == (4001, "other")
    assert list(settings["symbols"]) == ["BTC", "ETH", "SOL"]


def test_one_refresh_writes_the_fields_of_the_live_contract(system: System) -> None:
    completed = system.run("live", "--once")
    assert completed.returncode == 0, completed.stderr
    text = (system.home / "output" / "btc_live_probabilities.json").read_text()
    payload = json.loads(text)
    assert list(payload)[:8] == [
        "timestamp",
        "current_price",
        "base_strike",
        "ttc_seconds",
        "momentum_score",
        "strikes",
        "probabilities",
        "fingerprint_table",
    ]
    assert payload["status"] in {"replay", "stale"}
    assert payload["momentum_bucket"] is not None


def test_an_export_is_imported_without_differences(system: System, tmp_path: Path) -> None:
    assert system.invoke("build", "BTC", "--profile", "source").returncode == 0
    completed = system.invoke("export", "fingerprints", "BTC", str(tmp_path / "out"))
    assert completed.returncode == 0, completed.stderr
    assert len(list((tmp_path / "out").glob("*.csv"))) == 62
    report = json.loads(system.invoke("import", "fingerprints", "BTC", str(tmp_path / "out"), "--json").stdout)
    assert len(report["with_active"]) == 62
    assert all(row["equal"] == row["cells"] == 4800 for row in report["with_active"] + report["with_files"])


def test_an_audit_can_be_shown_named_and_compared(system: System) -> None:
    first = json.loads(system.invoke("audit", "run", "--as", "json").stdout)
    assert first["kind"] == "quick"
    assert {"query p95 {query=lookup_rows, symbol=BTC}", "build_seconds {model=momentum, symbol=BTC}"} <= {
        one["key"] for one in first["figures"]
    }
    assert system.invoke("audit", "baseline", "before").stdout == f"before: audit {first['audit_id']}\n"
    second = system.invoke("audit", "run")
    assert second.returncode == 0, second.stderr
    assert re.match(r"Audit \d+: grade [A-E], \d+ of 100 points", second.stdout)
    compared = json.loads(system.invoke("audit", "compare", "before", "--json").stdout)
    assert {one["outcome"] for one in compared["changes"]} <= {"changed", "no difference", "not judged"}
    shown = system.invoke("audit", "show", str(first["audit_id"]), "--as", "markdown").stdout
    assert f"# Audit {first['audit_id']}: grade {first['scorecard']['grade']}" in shown
    for arguments, message in (
        (["show", "999999"], "there is no audit 999999"),
        (["compare", "nothing"], "there is no baseline 'nothing': run `strikecast audit baseline nothing`"),
    ):
        completed = system.invoke("audit", *arguments)
        assert (completed.returncode, message in " ".join(completed.stderr.split())) == (1, True)


def test_rollback_publishes_the_previous_generation(system: System) -> None:
    completed = system.invoke("rollback", "BTC")
    match = re.fullmatch(r"BTC: standardised generation (\d+) -> (\d+)\n", completed.stdout)
    assert match is not None
    assert int(match[2]) < int(match[1])


def live_session(system: System) -> dict[str, Any] | None:
    session: dict[str, Any] | None = json.loads(system.invoke("status", "--json").stdout)["live_session"]
    return session


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return descendants(process.pid)


@contextmanager
def up(system: System, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `strikecast up` until its UI answers; kill it at the end unless it has stopped."""
    command = [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=system.variables, stdout=output, stderr=output, text=True)
    try:
        wait_until(lambda: "Dagster UI: http://" in log.read_text() or process.poll() is not None, "the UI")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            kill_all(*family(process))
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def orphans(system: System, tmp_path_factory: pytest.TempPathFactory) -> list[psutil.Process]:
    """Processes left by a killed `up`, among them the live session's run, whose parent (the code server) is killed too."""
    with up(system, tmp_path_factory.mktemp("killed") / "up.log") as killed:
        wait_until(lambda: [one for one in family(killed) if run_of_title(" ".join(command_line(one)))], "a run")
        members = family(killed)
        [code_server] = [one for one in members if "code-server" in command_line(one)]
        killed.kill()
        code_server.kill()
        killed.wait()
    assert not all(map(has_ended, members))
    return members


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of `up_again`."""
    return tmp_path_factory.mktemp("again") / "up.log"


@pytest.fixture(scope="module")
def up_again(system: System, orphans: list[psutil.Process], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A second `up`, after the first was killed."""
    with up(system, log) as process:
        yield process


def test_up_ends_the_processes_of_a_killed_up(up_again: subprocess.Popen[str], orphans: list[psutil.Process]) -> None:
    wait_until(lambda: all(map(has_ended, orphans)), "the orphans' end")
    assert up_again.poll() is None


def test_up_is_exclusive_and_ctrl_c_stops_all_of_its_processes(
    system: System, up_again: subprocess.Popen[str], log: Path
) -> None:
    address = re.search(r"Dagster UI: (http://[\d.]+:(\d+))", log.read_text())
    assert address is not None
    wait_until(lambda: (live_session(system) or {}).get("alive"), "a live session")
    second = system.run("up", "--port", "0")
    assert second.returncode == 1
    assert f"strikecast is already up at {address[1]}" in second.stderr.replace("\n", " ")
    taken = system.run("up", "--port", address[2], STRIKECAST_HOME=str(system.home.with_name("other")))
    assert taken.returncode == 1
    assert f"the UI cannot use 127.0.0.1:{address[2]}" in taken.stderr
    members = family(up_again)
    assert len(members) >= 4
    up_again.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in log.read_text(), "the shutdown")
    for further in (signal.SIGINT, signal.SIGTERM):
        up_again.send_signal(further)
    assert up_again.wait(TIMEOUT_SECONDS) == 0
    wait_until(lambda: all(map(has_ended, members)), "the end of its processes")
    state = json.loads(system.invoke("status", "--json").stdout)
    assert state["up"] is None
    assert state["live_session"]["status"] == "stopped"
    assert not state["live_session"]["alive"]
