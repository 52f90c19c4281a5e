"""Ingest price files or synthetic bars, and build models, by running Dagster jobs in this process.

Every function that runs a job requires `instance.prepared_instance`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipelines.atomic_files import atomic_write
from pipelines.domain.configuration.model import Profile
from pipelines.domain.prices.synthetic_bars import START_PRICES_USD, SimulationParameters, generate_bars
from pipelines.errors import BuildError, NoDataError, SettingsError
from pipelines.log import Log
from pipelines.resources import price_paths
from pipelines.service.instance import symbols_with_bars
from pipelines.service.job_runner import run_job
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Database

DEMO_DAYS, DEMO_SEED = 180, 1


def write_synthetic_bars(symbol: str, days: int, seed: int, end: datetime, path: Path) -> Path:
    """Write synthetic bars, up to the minute of `end` (aware), to a Parquet file; an existing file is replaced."""
    parameters = SimulationParameters(START_PRICES_USD.get(symbol, 100.0))
    symbol_seed = seed + sum(symbol.encode())  # one seed for all would make all symbols move alike
    bars = generate_bars(parameters, days, int(end.timestamp()) // 60, symbol_seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        bars.frame().write_parquet(partial)
    return path


def ingest_synthetic_bars(settings: Settings, symbol: str, days: int, seed: int, end: datetime, log: Log) -> None:
    """Generate synthetic bars in the home folder and ingest them."""
    path = settings.home / "samples" / f"{symbol.lower()}_1m.parquet"
    write_synthetic_bars(symbol, days, seed, end, path)
    log(f"{symbol}: generated {days} days of bars, seed {seed}")
    ingest_files(symbol, [path], log)


def ingest_files(symbol: str, paths: Sequence[Path], log: Log) -> None:
    """Ingest price files; archived months stay in the archive."""
    config = {"paths": [str(path) for path in paths], "keep_archived": True}
    run_job("ingest_prices", symbol, {"price_history": config}, log)


def ingest_demo_prices(settings: Settings, database: Database, log: Log) -> list[str]:
    """Ingest each symbol's files from `settings.prices`, or synthetic bars when that is unset and it has no bars.

    Returns the symbols that have bars. Raises SettingsError when `settings.prices` is not a folder, NoDataError when
    it has no files for any configured symbol.
    """
    if settings.prices is None:
        known = symbols_with_bars(settings, database)
        for symbol in settings.symbols:
            if symbol not in known:
                ingest_synthetic_bars(settings, symbol, DEMO_DAYS, DEMO_SEED, datetime.now(UTC), log)
        return list(settings.symbols)
    if not settings.prices.is_dir():
        raise SettingsError(f"{settings.prices} is not a folder of price files")
    files = {symbol: price_paths(settings.prices, symbol) for symbol in settings.symbols}
    symbols = [symbol for symbol, paths in files.items() if paths]
    if not symbols:
        raise NoDataError(f"{settings.prices} has no files named after {', '.join(files)}, like btc_1m.parquet")
    for symbol in symbols:
        log(f"{symbol}: ingesting {', '.join(path.name for path in files[symbol])}")
        ingest_files(symbol, files[symbol], log)
    return symbols


def build_symbol(symbol: str, profile: Profile | None, log: Log) -> None:
    """Rebuild, check and publish a symbol's models; `profile` None: the configured one. Raises BuildError."""
    config = {} if profile is None else {"profile": profile.name}
    run_job("build", symbol, {"momentum": config, "fingerprint": config}, log)


def score_models(symbol: str, log: Log) -> None:
    """Score a symbol's models out of sample; a history that is too short is logged."""
    try:
        run_job("calibrate", symbol, None, log)
    except BuildError as error:
        log(f"not scored: {error}")
