"""Serve a simulated exchange on this machine, within a running event loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from socket import create_server, socket

import uvicorn
from starlette.types import ASGIApp

from pipelines.errors import SettingsError
from pipelines.markets.address import API_PATH, LOCAL_HOST


class _Server(uvicorn.Server):
    """Leaves signals to the process that it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve within the context; yields the address of the API. Port 0 takes a free one.

    Raises SettingsError when the port is taken.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_level="critical",  # requests that never end are cancelled at the end
        lifespan="off",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=0,
    )
    server = _Server(config)
    with _bind(port) as bound:
        running = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            while not server.started and not running.done():
                await asyncio.sleep(0.01)
            yield f"http://{LOCAL_HOST}:{bound.getsockname()[1]}{API_PATH}"
        finally:
            server.should_exit = True
            await running


def _bind(port: int) -> socket:
    try:
        return create_server((LOCAL_HOST, port))
    except OSError as error:
        raise SettingsError(
            f"the simulated exchange cannot use {LOCAL_HOST}:{port}: {error.strerror}; choose another port with "
            "--port (0: any free one)"
        ) from error
