"""Uvicorn around the application."""

import os
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, create_server, socket

import uvicorn
from sse_starlette.sse import AppStatus

from pipelines.deployment import configured_database, running_server
from pipelines.errors import SettingsError, StrikecastError
from pipelines.log import Log
from pipelines.monitoring.audit.report_files import paths
from pipelines.settings import Settings
from pipelines.web.app import Pages, create_app

#: For requests under way at the end.
GRACE_SECONDS = 1


def serve(settings: Settings, host: str, port: int, log: Log) -> None:
    """Serve until interrupted. Raises SettingsError when the address cannot be used.

    The embedded database is started where it exists; without one, and when it fails, the files are served all the same.
    """
    # Uvicorn ends in order when interrupted, and then raises the interrupt again.
    with suppress(KeyboardInterrupt), _listening(host, port) as listening, ExitStack() as stack:
        if settings.database_url is None and not settings.embedded_dir.exists():
            log("there is no database yet: no history, and /health says so; `strikecast up` creates it")
        else:
            try:
                stack.enter_context(running_server(settings, log))
            except StrikecastError as error:
                log(f"serving the files only: {error}")
        database = configured_database(settings)
        pages = Pages(list(settings.symbols), settings.output_dir, paths(settings), database, lambda: datetime.now(UTC))
        bound = listening.getsockname()[1]
        log(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        if not _is_loopback(host):
            log(f"{host} is open to whoever reaches it: the page has no login")
        config = uvicorn.Config(
            create_app(pages),
            access_log=False,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        _Server(config, pages).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the streams of events itself when asked to end.

    The library's own way looks twice a second and then breaks them off, which Uvicorn reports as an error.
    """

    def __init__(self, config: uvicorn.Config, pages: Pages) -> None:
        super().__init__(config)
        self._pages = pages
        AppStatus.enable_automatic_graceful_drain = False

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._pages.close()
        await super().shutdown(sockets)


def _listening(host: str, port: int) -> socket:
    try:
        return create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        # A name that does not resolve has a number of its own kind, below zero.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise SettingsError(
            f"cannot serve at {host}:{port}: {reason}; choose another with --port (0: any free one) or --host"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False
