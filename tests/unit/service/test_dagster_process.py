"""Dagster's processes ask each other less often; an upgrade of Dagster that ends this is noticed here."""

import subprocess
import sys
from threading import Event
from typing import Any

import dagster
import pytest
from dagster._grpc import client, server_watcher

from pipelines.service.dagster_process import SECONDS, ask_less_often


class Stopped(Event):
    """Is set at the first wait, whose duration it keeps."""

    seconds: float | None = None

    def wait(self, timeout: float | None = None) -> bool:
        """Note the duration."""
        self.seconds = timeout
        self.set()
        return True


class Server(client.DagsterGrpcClient):
    """A code server that is always there."""

    def get_server_id(self, timeout: int = 0) -> str:
        """The same each time."""
        del timeout
        return "one"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals, in this test only."""
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", 1)
    monkeypatch.setattr(client, "CLIENT_HEARTBEAT_INTERVAL", 1)
    ask_less_often()


@pytest.mark.usefixtures("patient")
def test_the_code_server_is_asked_and_told_less_often() -> None:
    heartbeat, watch = Stopped(), Stopped()
    server = Server(socket="none")
    client.client_heartbeat_thread(server, heartbeat)
    assert heartbeat.seconds == SECONDS

    events = ("refresh_code_location", "on_disconnect", "on_reconnected", "on_updated", "on_error")
    called: list[tuple[str, ...]] = []
    handlers: dict[str, Any] = dict.fromkeys(events, lambda *names: called.append(names))
    server_watcher.watch_grpc_server_thread(
        "strikecast", server, watch, get_location_entry=dict[str, Any]().get, **handlers
    )
    assert watch.seconds == SECONDS
    assert called == []


def test_a_command_gets_its_arguments_and_its_exit_code() -> None:
    command = [sys.executable, "-m", "pipelines.service.dagster_process", "dagster"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.split()[-1] == dagster.__version__
    assert subprocess.run([*command, "no-such-command"], capture_output=True, check=False).returncode == 2
