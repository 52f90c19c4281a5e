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
