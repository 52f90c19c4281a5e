"""Ask the child processes of `strikecast up` whether they respond; each check takes five seconds at most."""

import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from socket import socket

import dagster as dg
import grpc

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

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._heartbeat = self._tick = 0.0
        self._heartbeat_at = time.monotonic()
        self.continues()

    def continues(self) -> bool | None:
        """Whether something was recorded since the last call; None while nothing is expected yet.

        Raises SQLAlchemy's errors without a usable server.
        """
        heartbeat = max((one.timestamp for one in self._instance.get_daemon_heartbeats().values()), default=0.0)
        data = [state.instigator_data for state in self._instance.all_instigator_state() if state.is_running]
        intervals = [getattr(one, "min_interval", None) for one in data]
        tick = max((getattr(one, "last_tick_start_timestamp", None) or 0.0 for one in data), default=0.0)
        has_new_heartbeat, has_new_tick = heartbeat != self._heartbeat, tick != self._tick
        self._heartbeat, self._tick = heartbeat, tick
        now = time.monotonic()
        if has_new_heartbeat:
            self._heartbeat_at = now
        if has_new_tick or has_new_heartbeat:
            return True
        ticks_often = any(seconds is not None and seconds <= FREQUENT_SECONDS for seconds in intervals)
        return None if not ticks_often and now - self._heartbeat_at < HEARTBEAT_SECONDS else False
