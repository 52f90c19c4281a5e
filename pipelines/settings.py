"""Settings: environment variables named STRIKECAST_*, and one optional TOML file; one validated, frozen value.

The environment wins over the file. The file is named by STRIKECAST_CONFIG, by default `strikecast.toml` in the home
folder; nested values are tables in the file (`[symbols.BTC]`) and JSON in the environment.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
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

CONFIG_FILE_VARIABLE = "STRIKECAST_CONFIG"
HOME_VARIABLE = "STRIKECAST_HOME"


class SymbolSettings(BaseModel):
    """What is known of a symbol beforehand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Distance of neighbouring strikes of its hourly markets, USD.
    strike_tier_usd: float = Field(gt=0, allow_inf_nan=False)
    #: Its market on the exchange, such as BTC/USDT; by default the symbol against the exchange's `quote`.
    market: str | None = Field(default=None, pattern=r"^[A-Z0-9]+/[A-Z0-9]+$")


class FeedKind(StrEnum):
    """Where the live session's prices come from."""

    REPLAY = "replay"
    EXCHANGE = "exchange"
    EXTERNAL = "external"


class ReplaySettings(BaseModel):
    """How stored history is replayed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Minutes of history per minute.
    speed: float = Field(default=1.0, gt=0, le=10_000, allow_inf_nan=False)
    ticks_per_second: float = Field(default=1.0, ge=0.2, le=1000, allow_inf_nan=False)


class Transport(StrEnum):
    """How an exchange is listened to: `websocket` where it and the free ccxt offer one, else `polling`."""

    WEBSOCKET = "websocket"
    POLLING = "polling"


class ExchangeSettings(BaseModel):
    """An exchange by its ccxt name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="coinbaseexchange", pattern=r"^[a-z0-9]+$")
    quote: str = Field(default="USD", pattern=r"^[A-Z0-9]+$")
    transport: Transport = Transport.WEBSOCKET
    #: Between two requests for one symbol; the exchange's own rate limit holds besides.
    poll_seconds: float = Field(default=1.0, gt=0, le=60, allow_inf_nan=False)
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, allow_inf_nan=False)
    #: Another address for each of its APIs (`public`, `ws`, ... by ccxt's names), for a proxy.
    urls: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BackupSettings(RotationPolicy):
    """How backups are made, and which are kept; see `strikecast backup rotate --dry-run`."""

    #: A tool and a public key: age:age1..., gpg:0123ABCD, or age:FILE or gpg:FILE with the recipients or the key in it.
    encrypt_to: str | None = Field(default=None, pattern=r"^(age|gpg):.+")
    #: What decrypts: a key file of age, or the folder of a gpg keyring.
    identity: Path | None = None
    #: As pg_dump takes it, such as zstd:3 or gzip:6; by default zstd:3 where pg_dump can, else gzip:1.
    compression: str | None = Field(default=None, pattern=r"^(gzip|zstd|lz4)(:[0-9]+)?$")
    #: A second place: a directory by its whole path, or an rclone remote.
    copy_to: str | None = Field(default=None, pattern=r"^(/|[A-Za-z0-9_.-]+:).*")

    #: For point-in-time recovery: where the server's archive_command puts its log, and how many base backups are kept.
    wal_archive: Path | None = None
    keep_base: int = Field(default=2, ge=1)

    @field_validator("identity", "wal_archive")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AlertSettings(AlertLimits):
    """When something is wrong, and who is told; `strikecast alerts --test` tries the addresses."""

    #: Addresses as apprise takes them: mailtos://user:password@example.org, json://host/path, ...
    urls: tuple[SecretStr, ...] = ()


def default_home() -> Path:
    """Where data goes unless STRIKECAST_HOME says otherwise."""
    return Path(os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("strikecast"))


class Settings(BaseSettings):
    """All settings. Paths are absolute; secrets stay out of `repr`."""

    model_config = SettingsConfigDict(
        env_prefix="STRIKECAST_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    home: Path = Field(default_factory=default_home, description="data of the program: database, Dagster, output")
    database_url: SecretStr | None = Field(default=None, description="a PostgreSQL 15+ server; empty: the embedded one")
    dagster_database: str = Field(
        default="dagster", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="Dagster's storage"
    )
    prices: Path | None = Field(default=None, description="folder of price files, {symbol}_1m.* or {symbol}/")
    backups: Path | None = Field(default=None, description="where backups go; default: home/backups")
    backup: BackupSettings = Field(default=BackupSettings(), description="how backups are made and kept")
    retention: RetentionPolicy = Field(default=RetentionPolicy(), description="how long rows are kept")
    vacuum: VacuumPolicy = Field(default=VacuumPolicy(), description="when tables are vacuumed")
    archive: ArchivePolicy = Field(default=ArchivePolicy(), description="which months of bars become files")
    logs: LogPolicy = Field(default=LogPolicy(), description="how long logs are kept")
    alerts: AlertSettings = Field(default=AlertSettings(), description="when something is wrong, and who is told")
    output: Path | None = Field(default=None, description="where the probability files go; default: home/output")
    ui_host: str = Field(default="127.0.0.1", description="address of the Dagster UI")
    ui_port: int = Field(default=3000, ge=0, le=65535, description="port of the Dagster UI; 0: any free one")
    feed: FeedKind = Field(
        default=FeedKind.REPLAY, description="prices of the live session: replay, exchange, external"
    )
    replay: ReplaySettings = Field(default=ReplaySettings(), description="how stored history is replayed")
    exchange: ExchangeSettings = Field(default=ExchangeSettings(), description="the exchange of feed and backfill")
    hot_standby: bool = Field(default=False, description="keep a second live session waiting, always")
    symbols: dict[str, SymbolSettings] = Field(
        default={"BTC": SymbolSettings(strike_tier_usd=250.0), "ETH": SymbolSettings(strike_tier_usd=20.0)},
        min_length=1,
        description="symbols and the distance of their strikes",
    )
    model: ModelConfig = Field(default=ModelConfig(), description="configuration of fingerprints and lookups")
    statement_timeout_seconds: int = Field(default=600, ge=1, description="longest statement of a build")
    lock_timeout_seconds: int = Field(default=10, ge=1, description="longest wait for a lock")

    @field_validator("home", "prices", "output", "backups")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

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
        """Explicit values, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @property
    def reports_dir(self) -> Path:
        """Where reports go."""
        return self.home / "reports"

    @property
    def output_dir(self) -> Path:
        """Where the probability files go."""
        return self.output or self.home / "output"

    @property
    def backups_dir(self) -> Path:
        """Where backups go."""
        return self.backups or self.home / "backups"

    @property
    def archive_dir(self) -> Path:
        """Where old months of bars go, a folder per symbol."""
        return self.home / "archive"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of the program."""
        return self.home / "dagster"

    @property
    def embedded_dir(self) -> Path:
        """The embedded server's files."""
        return self.home / "postgres"

    @property
    def tiers_usd(self) -> dict[str, float]:
        """Distance of strikes of each symbol."""
        return {symbol: known.strike_tier_usd for symbol, known in self.symbols.items()}

    def tier_usd(self, symbol: str) -> float:
        """Distance of a symbol's strikes; raises SettingsError for a symbol that is not configured."""
        self.require_symbol(symbol)
        return self.symbols[symbol].strike_tier_usd

    def market_of(self, symbol: str) -> str:
        """A symbol's market on the exchange, such as BTC/USD."""
        self.require_symbol(symbol)
        return self.symbols[symbol].market or f"{symbol}/{self.exchange.quote}"

    def require_symbol(self, symbol: str) -> None:
        """Raise SettingsError unless `symbol` is configured."""
        if symbol not in self.symbols:
            raise SettingsError(
                f"symbol {symbol!r} is not configured (there are {', '.join(self.symbols)}): add [symbols.{symbol}] "
                f"with strike_tier_usd to {config_file()}"
            )


def config_file() -> Path:
    """The settings file, whether it exists or not."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    return Path(named).expanduser().absolute() if named else default_home() / "strikecast.toml"


def load_settings(**overrides: Any) -> Settings:
    """Settings of this process; raises SettingsError that names every value that is wrong."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not config_file().is_file():
        raise SettingsError(f"{CONFIG_FILE_VARIABLE} names {named}, which is not a file")
    unknown = _unknown_variables()
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}: `strikecast status` lists those there are")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from None
    except ValueError as error:  # TOML that does not parse, JSON in the environment that does not
        raise SettingsError(f"settings cannot be read from {config_file()} or the environment: {error}") from error


#: Variables with our prefix that are not fields of Settings.
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
