"""Settings from environment variables STRIKECAST_* and an optional TOML file, as one validated, frozen value.

The environment takes precedence. STRIKECAST_CONFIG names the file, by default `strikecast.toml` in the home folder.
Nested values are tables in the file (`[symbols.BTC]`) and JSON in the environment.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.atomic_files import file_signature
from pipelines.configuration.fields import PREFIX
from pipelines.configuration.problems import (
    UnusableValuesError,
    invalid_toml,
    nearest_variable,
    problems_of,
    unusable_values,
)
from pipelines.configuration.sections import (
    BUILT_IN_SYMBOLS,
    AbsolutePath,
    AlertSettings,
    BackupSettings,
    ConcurrencySettings,
    DeskSettings,
    ExchangeSettings,
    FeedKind,
    MarketSettings,
    ReplaySettings,
    SharedFileSettings,
    SymbolSettings,
    WorkerSettings,
)
from pipelines.configuration.settings_file import CONFIG_FILE_VARIABLE, config_file, default_home, read_settings_file
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import valid_symbol
from pipelines.domain.configuration.strikes import StrikeChoice
from pipelines.domain.maintenance.archive import ArchivePolicy
from pipelines.domain.maintenance.log_files import LogPolicy
from pipelines.domain.maintenance.retention import RetentionPolicy
from pipelines.domain.maintenance.vacuum import VacuumPolicy
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import SettingsError
from pipelines.log import Log
from pipelines.protection.redaction import conceal


class Settings(BaseSettings):
    """All settings. Paths are absolute; `repr` omits secrets."""

    model_config = SettingsConfigDict(
        env_prefix="STRIKECAST_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    #: Folder of all data; by default that of `STRIKECAST_HOME`, or the platform's data folder, root's being
    #: `/var/lib/strikecast`.
    home: AbsolutePath = Field(default_factory=default_home)
    #: PostgreSQL 15 or newer, such as `postgresql://ann@db.example.org/strikecast`; by default the embedded server.
    database_url: SecretStr | None = None
    #: Where analysts' queries, scoring and `serve` read: a replica of the database, or a pooler before it; by default
    #: `database_url`.
    read_url: SecretStr | None = None
    #: Longest lag of a replica that is read from, and longest wait for what it has not replayed yet.
    read_lag_seconds: int = Field(default=60, ge=1, le=86_400)
    #: Database of Dagster's own storage, on the same server.
    dagster_database: str = Field(default="dagster", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    #: Folder of price files: `{symbol}_1m.*`, `{symbol}.*` or a folder `{symbol}/`.
    prices: AbsolutePath | None = None
    #: Folder of the backups; by default `backups/` in the home folder.
    backups: AbsolutePath | None = None
    #: Folder of the probability files; by default `output/` in the home folder.
    output: AbsolutePath | None = None
    #: Address of the Dagster UI.
    ui_host: str = "127.0.0.1"
    #: Port of the Dagster UI; 0 selects a free one.
    ui_port: int = Field(default=3000, ge=0, le=65535)
    #: Address of the page of `strikecast up`.
    page_host: str = "127.0.0.1"
    #: Port of the page of `strikecast up`; by default 8321, or any free one with `ui_port = 0`.
    page_port: int | None = Field(default=None, ge=0, le=65535)
    #: The Dagster UI only shows: it starts and stops no runs, and switches nothing on or off.
    ui_read_only: bool = False
    #: Port of a second Dagster UI at `ui_host` that only shows, for analysts; 0 selects a free one, by default there is
    #: none.
    ui_analysts_port: int | None = Field(default=None, ge=0, le=65535)
    #: Further host names by which browsers reach the UI and the page, such as a proxy's.
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[a-z0-9._-]+$")], ...] = ()
    #: Price source of the live session.
    feed: FeedKind = FeedKind.REPLAY
    #: Always keep a second live session waiting.
    hot_standby: bool = False
    # PostgreSQL counts both in milliseconds, in 32 bits.
    #: Limit of one statement of a build.
    statement_timeout_seconds: int = Field(default=600, ge=1, le=2_147_483)
    #: Limit of waiting for a lock.
    lock_timeout_seconds: int = Field(default=10, ge=1, le=2_147_483)
    #: Replay of stored history.
    replay: ReplaySettings = ReplaySettings()
    #: Exchange of the feed and of backfills.
    exchange: ExchangeSettings = ExchangeSettings()
    #: Markets on the symbols' prices.
    markets: MarketSettings = MarketSettings()
    #: The paper desk.
    desk: DeskSettings = DeskSettings()
    #: How many Dagster runs work at once.
    concurrency: ConcurrencySettings = ConcurrencySettings()
    #: Symbols; a table of the file adds a symbol to BTC and ETH, or changes single values of theirs.
    symbols: dict[str, SymbolSettings] = Field(default={}, validate_default=True)
    #: Where files go that other machines read.
    shared_files: SharedFileSettings = SharedFileSettings()
    #: Creation and rotation of backups.
    backup: BackupSettings = BackupSettings()
    #: Retention of rows, files and runs.
    retention: RetentionPolicy = RetentionPolicy()
    #: When to vacuum a table.
    vacuum: VacuumPolicy = VacuumPolicy()
    #: Archiving of old bars to files.
    archive: ArchivePolicy = ArchivePolicy()
    #: Retention of logs.
    logs: LogPolicy = LogPolicy()
    #: Limits and recipients of alerts.
    alerts: AlertSettings = AlertSettings()
    #: Runs on other machines.
    workers: WorkerSettings = WorkerSettings()
    #: Configuration of the momentum model, stored with every build.
    model: ModelConfig = ModelConfig()

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: object) -> object:
        if unusable := list(unusable_values(values)):
            raise UnusableValuesError(unusable)
        return values

    @field_validator("symbols", mode="before")
    @classmethod
    def _with_built_in_symbols(cls, symbols: object) -> object:
        if not isinstance(symbols, Mapping):
            return symbols
        merged = {
            symbol: {**BUILT_IN_SYMBOLS.get(symbol, {}), **values} if isinstance(values, Mapping) else values
            for symbol, values in symbols.items()
        }
        return {**BUILT_IN_SYMBOLS, **merged}

    @field_validator("symbols")
    @classmethod
    def _enabled_symbols(cls, symbols: dict[str, SymbolSettings]) -> dict[str, SymbolSettings]:
        wrong = [symbol for symbol in symbols if not valid_symbol(symbol)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: a symbol is capital letters and digits, 16 at most")
        enabled = {symbol: values for symbol, values in symbols.items() if values.enabled}
        if not enabled:
            raise ValueError("at least one symbol must be enabled")
        return enabled

    @field_validator("database_url", "read_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return url

    @model_validator(mode="after")
    def _workers_reach_the_database(self) -> Self:
        if self.has_workers and self.database_url is None:
            raise ValueError("workers.broker_url needs database_url: the embedded server serves its own machine only")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Precedence: explicit values, the environment, the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, tomllib.loads(read_settings_file()))

    @property
    def has_workers(self) -> bool:
        """Whether runs are handed to workers."""
        return self.workers.broker_url is not None

    @property
    def reports_dir(self) -> Path:
        """Folder of reports."""
        return self.home / "reports"

    @property
    def output_dir(self) -> Path:
        """Folder of the probability files."""
        return self.output or self.home / "output"

    @property
    def backups_dir(self) -> Path:
        """Folder of backups."""
        return self.backups or self.home / "backups"

    @property
    def signing_key(self) -> Path:
        """File of the key that signs backups, which is not in their folder."""
        return self.backup.signing_key or self.home / "backup-signing.key"

    @property
    def archive_dir(self) -> Path:
        """Folder of archived bars, with one folder per symbol."""
        return self.home / "archive"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME."""
        return self.home / "dagster"

    @property
    def embedded_dir(self) -> Path:
        """Folder of the embedded server."""
        return self.home / "postgres"

    @property
    def tiers_usd(self) -> dict[str, float]:
        """Distance between strikes by symbol, USD."""
        return {symbol: known.strike_tier_usd for symbol, known in self.symbols.items()}

    @property
    def by_probability(self) -> frozenset[str]:
        """Symbols whose strikes are chosen by probability."""
        return frozenset(name for name, known in self.symbols.items() if known.strikes is StrikeChoice.PROBABILITY)

    @property
    def rules(self) -> dict[str, SettlementRule]:
        """What the markets of each symbol settle on."""
        return {symbol: known.settlement for symbol, known in self.symbols.items()}

    @property
    def series(self) -> dict[str, tuple[str, ...]]:
        """Series that each symbol has a strike table of; none without a source of markets."""
        has_markets = self.markets.source is not MarketSource.NONE
        return {symbol: known.series if has_markets else () for symbol, known in self.symbols.items()}

    @property
    def desk_campaign(self) -> str:
        """Name of the paper account; that of trades on the simulated exchange begins with "demo", no other one does."""
        if self.markets.source is MarketSource.SIMULATED:
            return "demo" if self.desk.campaign is None else f"demo-{self.desk.campaign}"
        return self.desk.campaign or "paper"

    @property
    def desk_is_enabled(self) -> bool:
        """Whether live sessions trade on paper: it is enabled, and there are series to trade."""
        return self.desk.enabled and any(self.series.values())

    def tier_usd(self, symbol: str) -> float:
        """Distance between a symbol's strikes, USD. Raises SettingsError when the symbol is not configured."""
        self.require_symbol(symbol)
        return self.symbols[symbol].strike_tier_usd

    def market_of(self, symbol: str) -> str:
        """A symbol's market on the exchange, such as BTC/USD. Raises SettingsError when it is not configured."""
        self.require_symbol(symbol)
        return self.symbols[symbol].market or f"{symbol}/{self.exchange.quote}"

    def require_symbol(self, symbol: str) -> None:
        """Raise SettingsError unless `symbol` is configured."""
        if symbol not in self.symbols:
            raise SettingsError(
                f"symbol {symbol!r} is not configured (configured: {', '.join(self.symbols)}): "
                f"`strikecast symbol add {symbol} --strike-tier USD`, the distance between its strikes"
            )


def load_settings(**overrides: Any) -> Settings:
    """Load and validate the settings of this process. Raises SettingsError that names every problem."""
    settings = check_settings(**overrides)
    if not isinstance(settings, Settings):
        raise SettingsError("; ".join(settings))
    return settings


def check_settings(**overrides: Any) -> Settings | list[str]:
    """The settings of this process, or every problem with them: where it is, and what is expected.

    Messages hide the credentials of these settings from now on. Raises SettingsError when the file cannot be read.
    """
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not config_file().is_file():
        raise SettingsError(f"{CONFIG_FILE_VARIABLE} names {named}, which is not a file")
    text, problems = read_settings_file(), _unknown_variables()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        return problems + problems_of(error, Settings, text)
    except tomllib.TOMLDecodeError as error:
        return [*problems, invalid_toml(error)]
    except (ValueError, RecursionError) as error:  # deep TOML, or JSON in the environment
        return [*problems, f"settings cannot be read from {config_file()} or the environment: {error}"]
    if problems:
        return problems
    urls = (settings.database_url, settings.read_url, settings.workers.broker_url, settings.workers.result_url)
    for secret in filter(None, (*urls, *settings.alerts.urls, *settings.exchange.urls.values())):
        conceal(secret.get_secret_value())
    return settings


class CurrentSettings:
    """The settings of a process that goes on: read again when the settings file was replaced.

    Invalid ones are logged, and the previous ones stay.
    """

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._signature: object = "not read yet"

    def __call__(self) -> Settings:
        """The settings now."""
        signature = file_signature(config_file())
        if signature != self._signature:
            self._signature = signature
            try:
                self._settings = load_settings()
            except SettingsError as error:
                self._log(f"the changed settings are not used: {error}")
        return self._settings


#: Variables with the prefix STRIKECAST_ that are not fields of Settings.
_OTHER_VARIABLES = {
    CONFIG_FILE_VARIABLE,
    "STRIKECAST_DAGSTER_URL",
    "STRIKECAST_RUN_LOCK",
    "STRIKECAST_REAL_DATA",  # of tests and benchmarks
    "STRIKECAST_TEST_DATABASE_URL",
}


def _unknown_variables() -> list[str]:
    fields = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    known = fields | _OTHER_VARIABLES
    names = sorted(name for name in os.environ if name.startswith(PREFIX) and name.split("__")[0] not in known)
    return [f"unknown environment variable {name}{nearest_variable(name, Settings, known)}" for name in names]
