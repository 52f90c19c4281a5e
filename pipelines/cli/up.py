"""`strikecast up` and `strikecast demo`: the whole system, in order."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from pipelines.atomic_files import atomic_write
from pipelines.cli import console
from pipelines.deployment import configured_database, prepared_instance, restart_server_if_stopped
from pipelines.domain.configuration.model import Profile
from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.domain.prices.synthetic_bars import START_PRICES_USD, SimulationParameters, generate_bars
from pipelines.errors import (
    BuildError,
    DatabaseError,
    NoDataError,
    ServerUnavailableError,
    SettingsError,
    StrikecastError,
)
from pipelines.live.file_writer import probabilities_path
from pipelines.monitoring.alert_delivery import SERVER_PROBLEM, update_alerts
from pipelines.resources import price_paths
from pipelines.service.job_runner import run_job
from pipelines.service.supervisor import Running, dagster_processes, exclusive
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import newest_bar_at

SAMPLE_DAYS = 180
ONCE_SECONDS = 10
LIVE_TIMEOUT_SECONDS = 120
#: Between two looks at the server.
SERVER_LOOK_SECONDS = 30.0


def up(settings: Settings) -> None:
    """Run the system until interrupted. Raises AlreadyRunningError, SettingsError, ServerUnavailableError."""
    with (
        exclusive(settings),
        prepared_instance(settings, console.log),
        dagster_processes(settings, console.log, _looking_after(settings)) as running,
        suppress(KeyboardInterrupt),
    ):
        _print_places(settings, running)
        running.watch()


def _looking_after(settings: Settings) -> Callable[[], None]:
    """What `up` does all the while: start the embedded server if it died, and tell when no server answers.

    The watchdog tells everything else; but it runs in Dagster's daemon, which cannot do without the server.
    """
    looked_at = -SERVER_LOOK_SECONDS

    def look_after() -> None:
        nonlocal looked_at
        restart_server_if_stopped(settings, console.log)
        if time.monotonic() - looked_at < SERVER_LOOK_SECONDS:
            return
        looked_at = time.monotonic()
        found = []
        try:
            with configured_database(settings).connect("up", None):
                pass
        except DatabaseError as error:
            found = [Problem(SERVER_PROBLEM, str(error), RunbookHeading.SERVER)]
        try:
            update_alerts(settings, found, datetime.now(UTC), console.log, server=True)
        except StrikecastError as error:
            console.log(str(error))

    return look_after


def demo(settings: Settings, *, once: bool) -> None:
    """Prices, build, live refresh and UI; until interrupted, or with `once` for ten seconds of live refresh."""
    with exclusive(settings), prepared_instance(settings, console.log) as database:
        symbols = [symbol for symbol in settings.symbols if _has_prices(settings, database, symbol)]
        if not symbols:
            raise NoDataError(
                f"{settings.prices} has no files named after {', '.join(settings.symbols)}, like btc_1m.parquet"
            )
        for symbol in symbols:
            build_symbol(symbol, None)
            _calibrate(symbol)
        with (
            dagster_processes(settings, console.log, _looking_after(settings)) as running,
            suppress(KeyboardInterrupt),
        ):
            _wait_for_live(settings, symbols, running)
            if once:
                console.log(f"live; refreshing for {ONCE_SECONDS} s")
                before = {symbol: _payload(settings, symbol) for symbol in symbols}
                running.watch(ONCE_SECONDS)
                _require_refreshed(settings, before)
            _print_ladders(settings, symbols)
            _print_places(settings, running, stays=not once)
            if not once:
                running.watch()


def write_sample(symbol: str, days: int, seed: int, end: datetime, path: Path) -> Path:
    """Write generated bars, up to the minute of `end` (aware), as a Parquet file; replaced in one step."""
    start_price = START_PRICES_USD.get(symbol, 100.0)
    symbol_seed = seed + sum(symbol.encode())  # one seed for all would make all symbols move alike
    bars = generate_bars(SimulationParameters(start_price), days, int(end.timestamp()) // 60, symbol_seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        bars.frame().write_parquet(partial)
    return path


def ingest_sample(settings: Settings, symbol: str, days: int, seed: int, end: datetime) -> None:
    """Generate bars and ingest them through Dagster; `runtime.prepared` must be in effect."""
    path = write_sample(symbol, days, seed, end, settings.home / "samples" / f"{symbol.lower()}_1m.parquet")
    console.log(f"{symbol}: generated {days} days of bars, seed {seed}")
    run_job("ingest_prices", symbol, {"price_history": {"paths": [str(path)]}}, console.log)


def build_symbol(symbol: str, profile: Profile | None) -> None:
    """Rebuild, check and publish one symbol through Dagster; `runtime.prepared` must be in effect."""
    config: dict[str, Any] = {} if profile is None else {"profile": profile.name}
    run_job("build", symbol, {"momentum": config, "fingerprint": config}, console.log)


def _calibrate(symbol: str) -> None:
    """Score the models on what they had not seen, for the UI to show; a history too short for that is said."""
    try:
        run_job("calibrate", symbol, None, console.log)
    except BuildError as error:
        console.log(f"not scored: {error}")


def symbols_with_bars(settings: Settings, database: Database) -> list[str]:
    """Configured symbols that have bars. Raises NoDataError when none has."""
    with database.connect("build", Role.PIPELINE) as connection:
        symbols = [symbol for symbol in settings.symbols if newest_bar_at(connection, symbol) is not None]
    if not symbols:
        raise NoDataError("no symbol has bars: run `strikecast ingest SYMBOL PATH` or `strikecast sample SYMBOL`")
    return symbols


def _has_prices(settings: Settings, database: Database, symbol: str) -> bool:
    """Ingest a symbol's files, or generate bars where there is no folder of files; False when it has no files."""
    if settings.prices is not None:
        if not settings.prices.is_dir():
            raise SettingsError(f"{settings.prices} is not a folder of price files")
        paths = price_paths(settings.prices, symbol)
        if not paths:
            return False
        console.log(f"{symbol}: ingesting {', '.join(path.name for path in paths)}")
        run_job("ingest_prices", symbol, {"price_history": {"paths": [str(path) for path in paths]}}, console.log)
        return True
    with database.connect("demo", Role.PIPELINE) as connection:
        known = newest_bar_at(connection, symbol)
    if known is None:
        ingest_sample(settings, symbol, SAMPLE_DAYS, 1, datetime.now(UTC))
    return True


def _wait_for_live(settings: Settings, symbols: list[str], running: Running) -> None:
    """Wait until every symbol's file is fresh. Raises ServerUnavailableError when that takes too long."""
    console.log("waiting for the sensor to start the live session")
    began = datetime.now(UTC)
    while datetime.now(UTC) - began < timedelta(seconds=LIVE_TIMEOUT_SECONDS):
        payloads = [_payload(settings, symbol) for symbol in symbols]
        if all(payload and datetime.fromisoformat(payload["timestamp"]) > began for payload in payloads):
            return
        running.watch(0.5)
    raise ServerUnavailableError(
        f"no fresh probability file after {LIVE_TIMEOUT_SECONDS} s; see the run of live_refresh at {running.ui_url}"
    )


def _require_refreshed(settings: Settings, before: dict[str, dict[str, Any] | None]) -> None:
    stuck = [symbol for symbol, payload in before.items() if _payload(settings, symbol) == payload]
    if stuck:
        raise ServerUnavailableError(f"{', '.join(stuck)}: the probability file was not refreshed for {ONCE_SECONDS} s")


def _payload(settings: Settings, symbol: str) -> dict[str, Any] | None:
    try:
        payload: dict[str, Any] = orjson.loads(probabilities_path(settings.output_dir, symbol).read_bytes())
    except FileNotFoundError:
        return None
    return payload


def _print_places(settings: Settings, running: Running, *, stays: bool = True) -> None:
    for line in (
        f"Dagster UI: {running.ui_url}",
        f"probability files: {settings.output_dir}",
        *(f"calibration report: {path}" for path in sorted(settings.reports_dir.glob("*_calibration.html"))),
        *(
            [f"beside it: STRIKECAST_HOME={settings.home} {_program()} watch", "Ctrl-C stops everything"]
            if stays
            else []
        ),
    ):
        console.result.print(line, soft_wrap=True)


def _program() -> str:
    """The command as it can be typed in another terminal."""
    found = Path(sys.executable).with_name("strikecast")
    return str(found) if found.exists() else f"{sys.executable} -m pipelines.cli"


def _print_ladders(settings: Settings, symbols: list[str]) -> None:
    for symbol in symbols:
        payload = _payload(settings, symbol)
        if payload is not None:
            console.result.print(console.ladder_table(symbol, payload))
