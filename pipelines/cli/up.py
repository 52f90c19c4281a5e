"""`strikecast up` and `strikecast demo`."""

import sys
from contextlib import suppress
from pathlib import Path

from pipelines.cli import console
from pipelines.deployment import prepared_instance
from pipelines.service.builds import build_symbol, calibrate, ingest_demo_prices
from pipelines.service.live_files import read_payload, require_refresh, wait_until_live
from pipelines.service.supervisor import DagsterProcesses, dagster_processes, exclusive
from pipelines.settings import Settings

ONCE_SECONDS = 10


def up(settings: Settings) -> None:
    """Run the system until interrupted. Raises AlreadyRunningError, SettingsError, ServerUnavailableError."""
    with (
        exclusive(settings),
        prepared_instance(settings, console.log),
        dagster_processes(settings, console.log) as processes,
        suppress(KeyboardInterrupt),
    ):
        _print_locations(settings, processes)
        _print_hints(settings)
        processes.supervise()


def demo(settings: Settings, *, once: bool) -> None:
    """Ingest, build, refresh live and serve the UI until interrupted; with `once` for ten seconds of live refresh."""
    with exclusive(settings), prepared_instance(settings, console.log) as database:
        symbols = ingest_demo_prices(settings, database, console.log)
        for symbol in symbols:
            build_symbol(symbol, None, console.log)
            calibrate(symbol, console.log)
        with dagster_processes(settings, console.log) as processes, suppress(KeyboardInterrupt):
            console.log("waiting for the sensor to start the live session")
            wait_until_live(settings, symbols, processes)
            if once:
                console.log(f"live; refreshing for {ONCE_SECONDS} s")
                require_refresh(settings, symbols, processes, ONCE_SECONDS)
            for symbol in symbols:
                payload = read_payload(settings, symbol)
                if payload is not None:
                    console.result.print(console.ladder_table(symbol, payload))
            _print_locations(settings, processes)
            if not once:
                _print_hints(settings)
                processes.supervise()


def _print_locations(settings: Settings, processes: DagsterProcesses) -> None:
    reports = sorted(settings.reports_dir.glob("*_calibration.html"))
    for line in (
        f"Dagster UI: {processes.ui_url}",
        f"probability files: {settings.output_dir}",
        *(f"calibration report: {path}" for path in reports),
    ):
        console.result.print(line, soft_wrap=True)


def _print_hints(settings: Settings) -> None:
    script = Path(sys.executable).with_name("strikecast")
    program = script if script.exists() else f"{sys.executable} -m pipelines.cli"
    console.result.print(f"in another terminal: STRIKECAST_HOME={settings.home} {program} watch", soft_wrap=True)
    console.result.print("Ctrl-C stops everything")
