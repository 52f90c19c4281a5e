"""Settings from environment variables STRIKECAST_* and an optional TOML file, as one validated, frozen value.

The environment takes precedence. STRIKECAST_CONFIG names the file, by default `strikecast.toml` in the home folder.
Nested values are tables in the file (`[symbols.BTC]`) and JSON in the environment.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import valid_symbol
from pipelines.domain.maintenance.archive import ArchivePolicy
from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.domain.maintenance.log_files import LogPolicy
from pipelines.domain.maintenance.retention import RetentionPolicy
from pipelines.domain.maintenance.vacuum import VacuumPolicy
from pipelines.domain.monitoring.alerts import AlertLimits
from pipelines.errors import SettingsError

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
CONFIG_FILE_VARIABLE = "STRIKECAST_CONFIG"
HOME_VARIABLE = "STRIKECAST_HOME"


class SymbolSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of a symbol."""

    #: Distance between neighbouring strikes of its hourly markets, USD.
    strike_tier_usd: float = Field(gt=0, allow_inf_nan=False)
    #: Market on the exchange, such as BTC/USDT; by default SYMBOL/`exchange.quote`.
    market: str | None = Field(default=None, pattern=r"^[A-Z0-9]+/[A-Z0-9]+$")


class FeedKind(StrEnum):
    """Source of the live session's prices: stored history, an exchange, or inserts by another program."""

    REPLAY = "replay"
    EXCHANGE = "exchange"
    EXTERNAL = "external"


class ReplaySettings(BaseModel, frozen=True, extra="forbid"):
    """Replay of stored history."""

    #: Minutes of history per minute.
    speed: float = Field(default=1.0, gt=0, le=10_000, allow_inf_nan=False)
    ticks_per_second: float = Field(default=1.0, ge=0.2, le=1000, allow_inf_nan=False)


class Transport(StrEnum):
    """`websocket` falls back to `polling` for an exchange without a websocket in the free ccxt."""

    WEBSOCKET = "websocket"
    POLLING = "polling"


class ExchangeSettings(BaseModel, frozen=True, extra="forbid"):
    """Exchange, by its ccxt name."""

    name: str = Field(default="coinbaseexchange", pattern=r"^[a-z0-9]+$")
    quote: str = Field(default="USD", pattern=r"^[A-Z0-9]+$")
    transport: Transport = Transport.WEBSOCKET
    #: Interval between requests for a symbol; the exchange's rate limit applies as well.
    poll_seconds: float = Field(default=1.0, gt=0, le=60, allow_inf_nan=False)
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, allow_inf_nan=False)
    #: Base URLs that replace those of its APIs (`public`, `ws`, ... by ccxt's names), for a proxy.
    urls: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BackupSettings(RotationPolicy):
    """Creation and rotation of backups; `strikecast backup rotate --dry-run` shows the effect."""

    #: Tool and public key: age:age1..., gpg:0123ABCD, or age:FILE (recipients) or gpg:FILE (key).
    encrypt_to: str | None = Field(default=None, pattern=r"^(age|gpg):.+")
    #: For decryption: an age identity file, or the folder of a gpg keyring.
    identity: AbsolutePath | None = None
    #: As for pg_dump, such as zstd:3 or gzip:6; by default zstd:3 if pg_dump supports it, else gzip:1.
    compression: str | None = Field(default=None, pattern=r"^(gzip|zstd|lz4)(:[0-9]+)?$")
    #: Second location: an absolute path, or an rclone remote.
    copy_to: str | None = Field(default=None, pattern=r"^(/|[A-Za-z0-9_.-]+:).*")
    #: For point-in-time recovery: the folder that the server's archive_command writes to.
    wal_archive: AbsolutePath | None = None
    #: Base backups to keep.
    keep_base: int = Field(default=2, ge=1)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AlertSettings(AlertLimits):
    """Limits and recipients of alerts; `strikecast alerts --test` sends a test message."""

    #: URLs as for apprise: mailtos://user:password@example.org, json://host/path, ...
    urls: tuple[SecretStr, ...] = ()


def default_home() -> Path:
    """STRIKECAST_HOME, or the user's data folder of the platform."""
    return Path(os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("strikecast"))


class Settings(BaseSettings):
    """All settings. Paths are absolute; `repr` omits secrets."""

    model_config = SettingsConfigDict(
        env_prefix="STRIKECAST_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    home: AbsolutePath = Field(default_factory=default_home, description="folder of all data")
    database_url: SecretStr | None = Field(default=None, description="PostgreSQL 15+; default: embedded")
    dagster_database: str = Field(
        default="dagster", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="Dagster's storage"
    )
    prices: AbsolutePath | None = Field(default=None, description="folder of price files: {symbol}_1m.* or {symbol}/")
    backups: AbsolutePath | None = Field(default=None, description="folder of backups; default: home/backups")
    backup: BackupSettings = Field(default=BackupSettings(), description="creation and rotation of backups")
    retention: RetentionPolicy = Field(default=RetentionPolicy(), description="retention of rows")
    vacuum: VacuumPolicy = Field(default=VacuumPolicy(), description="vacuum policy")
    archive: ArchivePolicy = Field(default=ArchivePolicy(), description="archiving of old bars to files")
    logs: LogPolicy = Field(default=LogPolicy(), description="retention of logs")
    alerts: AlertSettings = Field(default=AlertSettings(), description="limits and recipients of alerts")
    output: AbsolutePath | None = Field(default=None, description="folder of the files; default: home/output")
    ui_host: str = Field(default="127.0.0.1", description="address of the Dagster UI")
    ui_port: int = Field(default=3000, ge=0, le=65535, description="port of the Dagster UI; 0: any free one")
    feed: FeedKind = Field(default=FeedKind.REPLAY, description="price source of the live session")
    replay: ReplaySettings = Field(default=ReplaySettings(), description="replay of stored history")
    exchange: ExchangeSettings = Field(default=ExchangeSettings(), description="exchange of the feed and of backfills")
    hot_standby: bool = Field(default=False, description="keep a second live session as a hot standby")
    symbols: dict[str, SymbolSettings] = Field(
        default={"BTC": SymbolSettings(strike_tier_usd=250.0), "ETH": SymbolSettings(strike_tier_usd=20.0)},
        min_length=1,
        description="symbols and the distance between their strikes",
    )
    model: ModelConfig = Field(default=ModelConfig(), description="configuration of fingerprints and lookups")
    statement_timeout_seconds: int = Field(default=600, ge=1, description="statement timeout of builds")
    lock_timeout_seconds: int = Field(default=10, ge=1, description="lock timeout")

    @field_validator("symbols")
    @classmethod
    def _symbols_are_names(cls, symbols: dict[str, SymbolSettings]) -> dict[str, SymbolSettings]:
        wrong = [symbol for symbol in symbols if not valid_symbol(symbol)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: a symbol is capital letters and digits, 16 at most")
        return symbols

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return url

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
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

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
                f"symbol {symbol!r} is not configured (configured: {', '.join(self.symbols)}): add [symbols.{symbol}] "
                f"with strike_tier_usd to {config_file()}"
            )


def config_file() -> Path:
    """Path of the settings file, which may not exist."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    return Path(named).expanduser().absolute() if named else default_home() / "strikecast.toml"


def load_settings(**overrides: Any) -> Settings:
    """Load and validate the settings of this process. Raises SettingsError that names every invalid value."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not config_file().is_file():
        raise SettingsError(f"{CONFIG_FILE_VARIABLE} names {named}, which is not a file")
    unknown = _unknown_variables()
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}: `strikecast status` lists the known ones")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise SettingsError("; ".join(problems)) from None
    except ValueError as error:  # malformed TOML, or malformed JSON in the environment
        raise SettingsError(f"settings cannot be read from {config_file()} or the environment: {error}") from error


#: Variables with the prefix STRIKECAST_ that are not fields of Settings.
_OTHER_VARIABLES = {
    CONFIG_FILE_VARIABLE,
    "STRIKECAST_DAGSTER_URL",
    "STRIKECAST_REAL_DATA",  # of tests and benchmarks
    "STRIKECAST_TEST_DATABASE_URL",
}


def _unknown_variables() -> list[str]:
    fields = {f"STRIKECAST_{name}".upper() for name in Settings.model_fields}
    names = {name.split("__")[0] for name in os.environ if name.startswith("STRIKECAST_")}
    return sorted(names - fields - _OTHER_VARIABLES)
