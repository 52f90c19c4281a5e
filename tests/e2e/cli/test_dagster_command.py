"""`strikecast dagster` runs Dagster's own commands with the embedded server running."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import socket

import pytest
from processes import descendants, has_ended, kill_all
from server_folders import server_folder
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.storage.postgres.embedded import EmbeddedServer

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def stopped_home(built_home: Path) -> Iterator[Path]:
    """A copy of the built home folder, whose server is stopped."""
    with server_folder() as folder:
        home = folder / "home"
        subprocess.run(["cp", "-a", built_home, home], check=True)
        yield home


def start(home: Path, *arguments: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "dagster", "--", *arguments],
        env={**os.environ, "STRIKECAST_HOME": str(home)},
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_run_list_works_on_a_stopped_system_and_stops_the_server_again(stopped_home: Path) -> None:
    with start(stopped_home, "run", "list") as command:
        output, _ = command.communicate()
    assert command.returncode == 0, output
    assert "Job: build" in output
    assert not EmbeddedServer(stopped_home / "postgres").is_running()


def test_the_exit_code_is_that_of_the_dagster_command(stopped_home: Path) -> None:
    with start(stopped_home, "run", "no-such-command") as command:
        output, _ = command.communicate()
    assert command.returncode == 2, output


@pytest.mark.parametrize("program", ["dagster dev -p 0", "dagster job list", "dg list defs"])
def test_a_bare_command_in_a_checkout_names_the_remedy_in_one_line(program: str) -> None:
    name, *arguments = program.split()
    unset = ("DAGSTER_HOME", "STRIKECAST_DAGSTER_URL")
    command = subprocess.run(
        [Path(sys.executable).with_name(name), *arguments],
        env={
            **{key: value for key, value in os.environ.items() if key not in unset},
            "VIRTUAL_ENV": str(Path(sys.executable).parents[1]),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 1
    assert command.stderr.splitlines()[-1].startswith(
        "Error: STRIKECAST_DAGSTER_URL is not set: run `strikecast dagster"
    )
    assert "Traceback" not in command.stdout + command.stderr


@pytest.mark.soak
def test_dev_serves_the_ui_until_sigterm_and_leaves_no_process(stopped_home: Path) -> None:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2) as response:
            return bool(response.status == 200)
        return False

    with start(stopped_home, "dev", "-p", str(port), output=subprocess.DEVNULL) as command:
        try:
            wait_until(lambda: answers() or command.poll() is not None, "the UI")
            assert command.poll() is None
            children = descendants(command.pid)
            command.send_signal(signal.SIGTERM)
            command.wait(TIMEOUT_SECONDS)
        finally:
            kill_all(*descendants(command.pid))
            command.kill()
    wait_until(lambda: all(map(has_ended, children)), "the end of Dagster's processes")
    assert not EmbeddedServer(stopped_home / "postgres").is_running()
