"""`strikecast up` and `strikecast demo`."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.cli import console
from pipelines.errors import ServerUnavailableError
from pipelines.live.probability_reader import read_view
from pipelines.service.builds import build_symbol, ingest_demo_prices, score_models
from pipelines.service.instance import prepared_instance
from pipelines.service.supervisor import System, exclusive, running_system
from pipelines.settings import Settings

ONCE_SECONDS = 10
LIVE_TIMEOUT = timedelta(seconds=120)


def up(settings: Settings) -> None:
    """Run the system until interrupted. Raises AlreadyRunningError, SettingsError, ServerUnavailableError."""
    with (
        exclusive(settings, console.log),
        prepared_instance(settings, console.log),
        running_system(settings, console.log) as system,
        suppress(KeyboardInterrupt),
    ):
        _print_locations(settings, system)
        _print_hints(settings)
        system.supervise()


def demo(settings: Settings, *, once: bool) -> None:
    """Ingest, build, refresh live and serve the UI until interrupted; with `once` for ten seconds of live refresh."""
    with exclusive(settings, console.log), prepared_instance(settings, console.log) as database:
        symbols = ingest_demo_prices(settings, database, console.log)
        for symbol in symbols:
            build_symbol(symbol, None, console.log)
            score_models(symbol, console.log)
        with running_system(settings, console.log) as system, suppress(KeyboardInterrupt):
            console.log("waiting for the sensor to start the live session")
            _wait_until_live(settings, symbols, system)
            if once:
                console.log(f"live; refreshing for {ONCE_SECONDS} s")
                _require_refresh(settings, symbols, system)
            for symbol in symbols:
                payload = _read_payload(settings, symbol)
                if payload is not None:
                    console.print_ladder(symbol, payload)
            _print_locations(settings, system)
            if not once:
                _print_hints(settings)
                system.supervise()


def _read_payload(settings: Settings, symbol: str) -> Mapping[str, Any] | None:
    return read_view(settings.output_dir, symbol, datetime.now(UTC)).payload


def _wait_until_live(settings: Settings, symbols: Sequence[str], system: System) -> None:
    """Wait until every symbol's file is written anew. Raises ServerUnavailableError after LIVE_TIMEOUT."""
    began = datetime.now(UTC)
    while datetime.now(UTC) - began < LIVE_TIMEOUT:
        payloads = [_read_payload(settings, symbol) for symbol in symbols]
        if all(payload and datetime.fromisoformat(payload["timestamp"]) > began for payload in payloads):
            return
        system.supervise(0.5)
    raise ServerUnavailableError(
        f"no fresh probability file after {LIVE_TIMEOUT.seconds} s; see the run of live_refresh at {system.ui_url}"
    )


def _require_refresh(settings: Settings, symbols: Sequence[str], system: System) -> None:
    """Run for ONCE_SECONDS; raises ServerUnavailableError when a symbol's file was not refreshed meanwhile."""
    before = {symbol: _read_payload(settings, symbol) for symbol in symbols}
    system.supervise(ONCE_SECONDS)
    stuck = [symbol for symbol, payload in before.items() if _read_payload(settings, symbol) == payload]
    if stuck:
        raise ServerUnavailableError(f"{', '.join(stuck)}: the probability file was not refreshed for {ONCE_SECONDS} s")


def _print_locations(settings: Settings, system: System) -> None:
    reports = sorted(settings.reports_dir.glob("*_calibration.html"))
    console.print_lines(
        f"page: {system.page_url}",
        f"Dagster UI: {system.ui_url}",
        f"probability files: {settings.output_dir}",
        *(f"calibration report: {path}" for path in reports),
    )


def _print_hints(settings: Settings) -> None:
    script = Path(sys.executable).with_name("strikecast")
    program = script if script.exists() else f"{sys.executable} -m pipelines.cli"
    console.print_lines(
        f"in another terminal: STRIKECAST_HOME={settings.home} {program} watch", "Ctrl-C stops everything"
    )
