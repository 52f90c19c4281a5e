"""Check that a running system refreshes the probability files."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from pipelines.errors import ServerUnavailableError
from pipelines.live.file_writer import probabilities_path
from pipelines.service.supervisor import DagsterProcesses
from pipelines.settings import Settings

LIVE_TIMEOUT = timedelta(seconds=120)


def read_payload(settings: Settings, symbol: str) -> dict[str, Any] | None:
    """A symbol's probability file; None when there is none."""
    try:
        payload: dict[str, Any] = orjson.loads(probabilities_path(settings.output_dir, symbol).read_bytes())
    except FileNotFoundError:
        return None
    return payload


def wait_until_live(settings: Settings, symbols: Sequence[str], processes: DagsterProcesses) -> None:
    """Wait until every symbol's file is written anew. Raises ServerUnavailableError after LIVE_TIMEOUT."""
    began = datetime.now(UTC)
    while datetime.now(UTC) - began < LIVE_TIMEOUT:
        payloads = [read_payload(settings, symbol) for symbol in symbols]
        if all(payload and datetime.fromisoformat(payload["timestamp"]) > began for payload in payloads):
            return
        processes.supervise(0.5)
    raise ServerUnavailableError(
        f"no fresh probability file after {LIVE_TIMEOUT.seconds} s; see the run of live_refresh at {processes.ui_url}"
    )


def require_refresh(settings: Settings, symbols: Sequence[str], processes: DagsterProcesses, seconds: int) -> None:
    """Run for `seconds`; raises ServerUnavailableError when a symbol's file was not refreshed meanwhile."""
    before = {symbol: read_payload(settings, symbol) for symbol in symbols}
    processes.supervise(seconds)
    stuck = [symbol for symbol, payload in before.items() if read_payload(settings, symbol) == payload]
    if stuck:
        raise ServerUnavailableError(f"{', '.join(stuck)}: the probability file was not refreshed for {seconds} s")
