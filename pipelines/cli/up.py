"""`strikecast up` and `strikecast demo`."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.cli import console
from pipelines.cli.desk import print_desk
from pipelines.cli.watch_market import market_screen
from pipelines.configuration.fields import PREFIX
from pipelines.configuration.settings_file import exposed_credentials
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.models.strike_table import OPEN
from pipelines.errors import ServerUnavailableError
from pipelines.live.probability_reader import read_view
from pipelines.live.strike_table_reader import TableView, read_table, table_names
from pipelines.markets.address import API_PATH
from pipelines.service.preparation import prepared_system
from pipelines.service.supervisor import System, exclusive, running_system
from pipelines.settings import Settings

ONCE_SECONDS = 10
LIVE_TIMEOUT = timedelta(seconds=120)
OPEN_TIMEOUT = timedelta(seconds=60)
#: The paper desk of a demonstration. Its thresholds are so small that it trades within minutes on quotes that are made
#: up, by the pool although no score supports it: they show how the desk works, and nothing about what it would gain.
DEMO_DESK = {
    "enabled": "true",
    "probability": "pool",
    "min_edge_usd": "0.002",
    "interval_share": "0",
    "stake_usd": "20",
    "positions_per_event": "3",
}
#: States of a market that the exchange tells, and that are nobody's fault.
NOT_TRADING = ("closed", "halted", "no event")


def up(settings: Settings) -> None:
    """Run the system until interrupted. Raises AlreadyRunningError, SettingsError, ServerUnavailableError."""
    if (warning := exposed_credentials()) is not None:
        console.log(warning)
    with (
        exclusive(settings, console.log),
        prepared_system(settings, console.log),
        running_system(settings, console.log) as system,
        suppress(KeyboardInterrupt),
    ):
        _print_locations(settings, system)
        _print_hints(settings)
        system.supervise()


def select_simulated_markets(settings: Settings) -> bool:
    """Set the source of markets in the environment, for this process and its children, where nothing sets it.

    Returns whether it did: then the settings have to be loaded again.
    """
    has_series = any(symbol.series for symbol in settings.symbols.values())
    if "source" in settings.markets.model_fields_set or not has_series:
        return False
    os.environ[f"{PREFIX}MARKETS__SOURCE"] = str(MarketSource.SIMULATED)
    return True


def select_demo_desk(settings: Settings) -> bool:
    """As `select_simulated_markets`: let the paper desk trade on the simulated exchange, where nothing is set of it."""
    if settings.markets.source is not MarketSource.SIMULATED or "desk" in settings.model_fields_set:
        return False
    os.environ.update({f"{PREFIX}DESK__{name.upper()}": value for name, value in DEMO_DESK.items()})
    return True


def demo(settings: Settings, *, once: bool) -> None:
    """Ingest, build, refresh live and serve the UI until interrupted; with `once` for ten seconds of live refresh.

    At the end it is printed what the paper desk did.
    """
    from pipelines.service.builds import build_symbol, ingest_demo_prices, score_models
    from pipelines.service.instance import prepared_instance

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
            for view in _read_tables(settings, symbols):
                console.result.print(market_screen(view, console.result.width, None))
            _print_locations(settings, system)
            if not once:
                _print_hints(settings)
                system.supervise()
        if settings.desk_is_enabled:
            print_desk(database, settings.desk_campaign)


def _read_payload(settings: Settings, symbol: str) -> Mapping[str, Any] | None:
    return read_view(settings.output_dir, symbol, datetime.now(UTC)).payload


def _read_tables(settings: Settings, symbols: Sequence[str]) -> list[TableView]:
    names = [name for name in table_names(settings.series) if name.symbol in symbols]
    return [read_table(settings.output_dir, name, datetime.now(UTC)) for name in names]


def _wait_until_live(settings: Settings, symbols: Sequence[str], system: System) -> None:
    """Wait until every symbol's file is written anew, and every strike table is, with the quotes of an open market.

    A market that has closed early, or is halted for longer than OPEN_TIMEOUT, is not waited for. Raises
    ServerUnavailableError after LIVE_TIMEOUT.
    """
    began = datetime.now(UTC)
    while (waited := datetime.now(UTC) - began) < LIVE_TIMEOUT:
        payloads = [_read_payload(settings, symbol) for symbol in symbols]
        files = all(payload and datetime.fromisoformat(payload["timestamp"]) > began for payload in payloads)
        states = {view.state_word for view in _read_tables(settings, symbols)}
        if files and states <= ({OPEN} if waited < OPEN_TIMEOUT else {OPEN, *NOT_TRADING}):
            return
        system.supervise(0.5)
    missing = "strike table with quotes" if files else "probability file"
    raise ServerUnavailableError(
        f"no fresh {missing} after {LIVE_TIMEOUT.seconds} s; see the run of live_refresh at {system.addresses.ui.url}"
    )


def _require_refresh(settings: Settings, symbols: Sequence[str], system: System) -> None:
    """Run for ONCE_SECONDS; raises ServerUnavailableError when a file was not refreshed meanwhile."""
    before = {symbol: _read_payload(settings, symbol) for symbol in symbols}
    tables = _read_tables(settings, symbols)
    system.supervise(ONCE_SECONDS)
    stuck = [symbol for symbol, payload in before.items() if _read_payload(settings, symbol) == payload]
    after = _read_tables(settings, symbols)
    stuck += [str(old.name) for old, new in zip(tables, after, strict=True) if old.payload == new.payload]
    if stuck:
        raise ServerUnavailableError(f"{', '.join(stuck)}: the file was not refreshed for {ONCE_SECONDS} s")


def _print_locations(settings: Settings, system: System) -> None:
    reports, exchange = sorted(settings.reports_dir.glob("*_calibration.html")), system.addresses.exchange
    analysts = system.addresses.analysts
    console.print_lines(
        f"page: {system.addresses.page.url}",
        f"Dagster UI: {system.addresses.ui.url}",
        *(() if analysts is None else (f"Dagster UI for analysts, read-only: {analysts.url}",)),
        *(() if exchange is None else (f"simulated exchange: {exchange.url}{API_PATH} (nothing can be traded)",)),
        f"probability files: {settings.output_dir}",
        *(f"calibration report: {path}" for path in reports),
    )


def _print_hints(settings: Settings) -> None:
    script = Path(sys.executable).with_name("strikecast")
    program = script if script.exists() else f"{sys.executable} -m pipelines.cli"
    console.print_lines(
        f"in another terminal: STRIKECAST_HOME={settings.home} {program} watch", "Ctrl-C stops everything"
    )
