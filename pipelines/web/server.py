"""Serve the web application by Uvicorn."""

import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, create_server, socket

import uvicorn
from sse_starlette.sse import AppStatus

from pipelines.deployment import configured_database, dagster_database, read_database, running_server
from pipelines.errors import SettingsError, StrikecastError
from pipelines.live.strike_table_reader import table_names
from pipelines.log import Log
from pipelines.monitoring.audit.reports import report_paths
from pipelines.settings import CurrentSettings, Settings
from pipelines.web.access import AccessGuard
from pipelines.web.app import Endpoints, create_app
from pipelines.web.connections import MAX_HEADER_BYTES, LimitedProtocol
from pipelines.web.desk import DeskEndpoints
from pipelines.web.past import PastEndpoints
from pipelines.web.reports import ReportEndpoints
from pipelines.web.strike_tables import StrikeTableEndpoints
from pipelines.web.ticks import TickMetrics

#: Time for requests in progress at the end.
GRACE_SECONDS = 1


def serve(settings: Settings, host: str, port: int, log: Log) -> None:
    """Serve until SIGINT or SIGTERM. Raises SettingsError when the address cannot be used.

    Starts the embedded database if it has been created. Without a usable database, only the files are served.
    """
    # After an orderly end, Uvicorn raises the interrupt again.
    with suppress(KeyboardInterrupt), _bind(host, port) as bound, ExitStack() as stack:
        if settings.database_url is None and not settings.embedded_dir.exists():
            log("there is no database yet: no history, and /health reports it; `strikecast up` creates it")
        else:
            try:
                stack.enter_context(running_server(settings, log))
            except StrikecastError as error:
                log(f"serving the files only: {error}")
        database, current = configured_database(settings), CurrentSettings(settings, log)
        found = read_database(settings)
        replica = None if found is None else replace(found, wait_seconds=0)  # a request is refused instead
        clock = partial(datetime.now, UTC)
        tables = StrikeTableEndpoints(lambda: table_names(current().series), settings.output_dir, clock)
        desk = DeskEndpoints(current, database, clock)
        endpoints = Endpoints(
            lambda: list(current().symbols),
            settings.output_dir,
            report_paths(settings),
            database,
            clock,
            tables,
            desk,
            TickMetrics(dagster_database(settings, database), clock),
            replica,
        )
        past = PastEndpoints(current, replica or database, clock)
        reports = ReportEndpoints(current, database)
        log(f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}")
        if not _is_loopback(host):
            log(f"{host} can be reached from other machines: the page has no login")
        config = uvicorn.Config(
            AccessGuard(create_app(endpoints, past, tables, desk, reports), {host, *settings.allowed_hosts}),
            http=LimitedProtocol,
            ws="none",
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            access_log=False,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        _Server(config, endpoints).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Ends the event streams at shutdown.

    sse-starlette polls twice a second and then aborts them, which Uvicorn reports as an error.
    """

    def __init__(self, config: uvicorn.Config, endpoints: Endpoints) -> None:
        super().__init__(config)
        self._endpoints = endpoints
        AppStatus.enable_automatic_graceful_drain = False

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._endpoints.close()
        await super().shutdown(sockets)


def _bind(host: str, port: int) -> socket:
    try:
        return create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        # A failed name resolution has a negative number of its own.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise SettingsError(
            f"cannot serve at {host}:{port}: {reason}; choose another with --port (0: any free one) or --host"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
