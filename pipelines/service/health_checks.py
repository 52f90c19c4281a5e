"""Ask the child processes of `strikecast up` whether they respond; each check takes five seconds at most."""

import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socket import socket

import grpc

from pipelines.storage.monitoring.dagster_state import DAEMON, SENSOR, TickState

TIMEOUT_SECONDS = 5.0
#: The daemon records heartbeats every 30 s. Its sensors tick every 5 s, unless they are switched off in the UI.
HEARTBEAT_SECONDS = 60.0
#: Sensors that tick at least so often show that the daemon is alive.
FREQUENT_SECONDS = 10
#: Dagster's code server passes it on, and answers gRPC's health protocol itself.
PING = "/api.DagsterApi/Ping"


def code_server_responds(code_socket: Path) -> bool:
    """Whether Dagster's code server, and the process behind it that has loaded the code, answer a ping by gRPC."""
    with grpc.insecure_channel(f"unix:{code_socket}") as channel:
        try:
            channel.unary_unary(PING)(b"", timeout=TIMEOUT_SECONDS)
        except grpc.RpcError:
            return False
    return True


def http_responds(url: str) -> bool:
    """Whether a web server answers a request with success."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 (our own)
        return bool(response.status == 200)
    return False


def echoes(connection: socket) -> bool:
    """Whether the log writer returns a byte that is sent to it."""
    try:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.send(b".")
        return bool(connection.recv(4096))
    except (TimeoutError, OSError):
        return False


class DaemonActivity:
    """Whether Dagster's daemon goes on recording ticks of sensors and heartbeats."""

    def __init__(self, read: Callable[[], Sequence[TickState]]) -> None:
        """`read`: what Dagster recorded last."""
        self._read = read
        self._heartbeat: datetime | None = None
        self._tick: datetime | None = None
        self._heartbeat_at = time.monotonic()
        self.continues()

    def continues(self) -> bool | None:
        """Whether something was recorded since the last call; None while nothing is expected yet.

        Raises DatabaseError, and the driver's errors, without a usable server.
        """
        states = self._read()
        sensors = [one for one in states if one.kind == SENSOR and one.is_on]
        heartbeat, tick = (
            max((one.active_at for one in found if one.active_at is not None), default=None)
            for found in ([one for one in states if one.kind == DAEMON], sensors)
        )
        has_new_heartbeat, has_new_tick = heartbeat != self._heartbeat, tick != self._tick
        self._heartbeat, self._tick = heartbeat, tick
        now = time.monotonic()
        if has_new_heartbeat:
            self._heartbeat_at = now
        if has_new_tick or has_new_heartbeat:
            return True
        ticks_often = any((one.interval_seconds or HEARTBEAT_SECONDS) <= FREQUENT_SECONDS for one in sensors)
        return None if not ticks_often and now - self._heartbeat_at < HEARTBEAT_SECONDS else False
