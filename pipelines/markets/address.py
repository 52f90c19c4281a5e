"""Where markets are asked for: the exchange, or the simulated exchange that runs on this machine.

The simulated exchange writes its address and its process to a file in the home folder.
"""

import json
import os
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from pipelines.atomic_files import atomic_write, read_json
from pipelines.domain.markets.board import MarketSource
from pipelines.errors import MarketError
from pipelines.processes.pid_file import Pid
from pipelines.settings import Settings

#: The exchange's public API, and where its version is on any host.
API_PATH = "/trade-api/v2"
BASE_URL = f"https://external-api.kalshi.com{API_PATH}"
#: In the answers of a simulated exchange.
SIMULATED_HEADER = "x-simulated"
#: The simulated exchange can only be reached from this machine.
LOCAL_HOST = "127.0.0.1"
NOT_UP = "`strikecast up` starts it where `markets.source` is simulated, and `strikecast markets simulate` by itself"


class SimulationFile(TypedDict):
    """Address of the simulated exchange, and its process with its creation time (Unix time)."""

    url: Annotated[str, Field(pattern=rf"^http://127\.0\.0\.1:\d{{1,5}}{API_PATH}$")]
    pid: Pid
    created: float


_FILE = TypeAdapter(SimulationFile)


def market_url(settings: Settings) -> str:
    """The address of the API of `markets.source`; read again when requests fail, because the exchange may have moved.

    Raises MarketError without a source, and while the simulated exchange is not up.
    """
    source = settings.markets.source
    if source is MarketSource.NONE:
        raise MarketError("markets.source is none: set it to kalshi or simulated")
    if source is MarketSource.KALSHI:
        return settings.markets.url or BASE_URL
    running = running_simulation(settings)
    if running is None:
        raise MarketError(f"the simulated exchange is not up: {NOT_UP}")
    return running["url"]


def running_simulation(settings: Settings) -> SimulationFile | None:
    """The simulated exchange of the home folder, None when its process has ended."""
    try:
        found = read_json(_path(settings), _FILE)
        alive = abs(psutil.Process(found["pid"]).create_time() - found["created"]) < 1.0
    except (OSError, ValueError, psutil.Error):
        return None
    return found if alive else None


def announce_simulation(settings: Settings, url: str) -> None:
    """Write the address of this process's simulated exchange, unless that of another one that is up is there."""
    if running_simulation(settings) is not None:
        return
    state = SimulationFile(url=url, pid=os.getpid(), created=psutil.Process().create_time())
    with atomic_write(_path(settings)) as partial:
        partial.write_text(json.dumps(state))


def withdraw_simulation(settings: Settings) -> None:
    """Remove the file if it is this process's."""
    running = running_simulation(settings)
    if running is not None and running["pid"] == os.getpid():
        _path(settings).unlink(missing_ok=True)


def _path(settings: Settings) -> Path:
    return settings.home / "simulated_exchange.json"
