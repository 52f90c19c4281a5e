"""Sections of the settings; the policies of maintenance and the model's configuration are in the domain.

The comment `#:` of a field is its description in docs/settings.md and in the file of `strikecast config init`.
"""

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.dataclasses import dataclass

from pipelines.domain.configuration.strikes import StrikeChoice
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.settlement import DEFAULT_RULE, SettlementRule
from pipelines.domain.monitoring.alerts import AlertLimits
from pipelines.domain.prices.quote_times import MAX_REPEAT

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class SymbolSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of a symbol."""

    #: Distance between adjacent strikes of its hourly markets.
    strike_tier_usd: float = Field(gt=0, allow_inf_nan=False)
    #: `probability`: closing at or above the strikes has 99, 95, 90, ..., 5, 1 %; for symbols without a market.
    strikes: StrikeChoice = StrikeChoice.SPACING
    #: What its markets settle on: the mean of the last 60 one-second values of an index, or the last price.
    settlement: SettlementRule = DEFAULT_RULE
    #: Market on the exchange, such as BTC/USDT; by default SYMBOL/`exchange.quote`.
    market: str | None = Field(default=None, pattern=r"^[A-Z0-9]+/[A-Z0-9]+$")
    #: Series of its markets on the exchange of `[markets]`, such as KXBTCD; each has a strike table.
    series: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9_.]{0,39}$")], ...] = ()
    #: `false` leaves the symbol out, also a built-in one.
    enabled: bool = True


#: Configured unless the settings disable them; a table with the same name changes single values.
BUILT_IN_SYMBOLS: Mapping[str, Mapping[str, Any]] = {
    "BTC": {"strike_tier_usd": 250.0, "series": ("KXBTCD",)},
    "ETH": {"strike_tier_usd": 20.0, "series": ("KXETHD",)},
}


class FeedKind(StrEnum):
    """Source of the live session's prices: stored history, an exchange, or inserts by another program."""

    REPLAY = "replay"
    EXCHANGE = "exchange"
    EXTERNAL = "external"


class ReplaySettings(BaseModel, frozen=True, extra="forbid"):
    """Replay of stored history."""

    #: Minutes of history per minute.
    speed: float = Field(default=1.0, gt=0, le=10_000, allow_inf_nan=False)
    #: Prices per second of the replay.
    ticks_per_second: float = Field(default=1.0, ge=0.2, le=1000, allow_inf_nan=False)


class Transport(StrEnum):
    """How prices are read from an exchange."""

    WEBSOCKET = "websocket"
    POLLING = "polling"


class ExchangeSettings(BaseModel, frozen=True, extra="forbid"):
    """Exchange, by its ccxt name."""

    #: Name of a ccxt exchange, such as kraken or binance.
    name: str = Field(default="coinbaseexchange", pattern=r"^[a-z0-9]+$")
    #: Currency of the markets, for symbols without `market`.
    quote: str = Field(default="USD", pattern=r"^[A-Z0-9]+$")
    #: `websocket` falls back to `polling` for an exchange without a websocket in the free ccxt.
    transport: Transport = Transport.WEBSOCKET
    #: Interval between requests for a symbol; the exchange's rate limit applies as well.
    poll_seconds: float = Field(default=1.0, gt=0, le=60, allow_inf_nan=False)
    #: Timeout of a request.
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, allow_inf_nan=False)
    #: A last trade that the exchange repeats counts as the current price until it is this old.
    max_repeat_seconds: float = Field(default=MAX_REPEAT.total_seconds(), gt=0, le=86_400, allow_inf_nan=False)
    #: Addresses that replace those of the exchange's APIs, by ccxt's names such as `public` and `ws`, for a proxy; they
    #: may contain credentials, and are shown without a path.
    urls: dict[str, SecretStr] = Field(default_factory=dict)


#: Places that the live session and its successor, or the hot standby, take while one hands over to the other.
LIVE_RUNS = 2


class ConcurrencySettings(BaseModel, frozen=True, extra="forbid"):
    """How many Dagster runs work at once; read when `strikecast up` starts."""

    #: Runs at once, with those of the live session and its successor; the others wait in the queue.
    runs: int = Field(default=6, ge=LIVE_RUNS + 1, le=1_000)
    #: Runs at once within one pool, such as all computations of fingerprints; each may need 1 GB. At least two fewer
    #: than `runs`.
    builds_per_pool: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _leaves_room_for_live_sessions(self) -> "ConcurrencySettings":
        if self.builds_per_pool > self.runs - LIVE_RUNS:
            raise ValueError(
                f"builds_per_pool is {self.builds_per_pool}, but at most {self.runs - LIVE_RUNS} of {self.runs} runs "
                "may be builds: the live session and its successor need two"
            )
        return self


class MarketSettings(BaseModel, frozen=True, extra="forbid"):
    """Markets on the symbols' prices: quotes and strike tables."""

    #: Source of markets: the exchange, the simulated exchange of the demonstration, or none.
    source: MarketSource = MarketSource.NONE
    #: Address of the exchange's API, by default the public one; for its demonstration server, or a proxy. That of the
    #: simulated exchange is known without it.
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    #: Limit of requests; the exchange permits 20 per second without a key.
    requests_per_second: float = Field(default=10.0, gt=0, le=20, allow_inf_nan=False)
    #: Port of the simulated exchange of `strikecast up`, on this machine; by default 8322, or any free one with
    #: `ui_port = 0`.
    simulation_port: int | None = Field(default=None, ge=0, le=65535)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DeskSettings(DeskRules):
    """The paper desk, which trades on paper by these rules: docs/desk.md. Prices and edges are of one contract, which
    pays one dollar.
    """

    #: Whether live sessions trade on paper, on the markets of `[markets]`.
    enabled: bool = False
    #: Name of the paper account, which keeps its capital and its trades; by default `paper`. On the simulated exchange
    #: it is `demo`, with the name behind it.
    campaign: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_]{0,29}$")
    capital_usd: Decimal = Field(default=DeskRules.capital_usd, ge=1, le=1_000_000_000)
    stake_usd: Decimal = Field(default=DeskRules.stake_usd, ge=1, le=1_000_000)
    min_edge_usd: Decimal = Field(default=DeskRules.min_edge_usd, ge=0, le=0.99)
    interval_share: Decimal = Field(default=DeskRules.interval_share, ge=0, le=10)
    min_independent: int = Field(default=DeskRules.min_independent, ge=0, le=1_000_000)
    max_spread_usd: Decimal = Field(default=DeskRules.max_spread_usd, gt=0, le=0.99)
    #: Age of the oldest quotes that are traded on.
    max_quote_age_seconds: Decimal = Field(default=DeskRules.max_quote_age_seconds, gt=0, le=60)
    #: Least time before the close at which trades are entered.
    min_ttc_seconds: int = Field(default=DeskRules.min_ttc_seconds, ge=0, le=DeskRules.max_ttc_seconds)
    #: Most time before the close at which trades are entered.
    max_ttc_seconds: int = Field(default=DeskRules.max_ttc_seconds, ge=DeskRules.min_ttc_seconds, le=3_600)
    latency_seconds: Decimal = Field(default=DeskRules.latency_seconds, ge=0, le=60)
    order_seconds: Decimal = Field(default=DeskRules.order_seconds, ge=2, le=3_600)
    exit_edge_usd: Decimal = Field(default=DeskRules.exit_edge_usd, ge=0, le=0.99)
    daily_loss_usd: Decimal = Field(default=DeskRules.daily_loss_usd, gt=0, le=1_000_000_000)
    capital_per_symbol_usd: Decimal = Field(default=DeskRules.capital_per_symbol_usd, ge=0, le=1_000_000_000)
    #: Most positions at once of one symbol.
    positions_per_symbol: int = Field(default=DeskRules.positions_per_symbol, ge=0, le=1_000)
    #: Most positions at once of one event, whose strikes are one bet.
    positions_per_event: int = Field(default=DeskRules.positions_per_event, ge=0, le=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.campaign is not None and self.campaign.startswith("demo"):
            raise ValueError(f"campaign {self.campaign}: names that begin with demo are those of simulated trades")

    @property
    def rules(self) -> DeskRules:
        """The rules alone."""
        return DeskRules(**{each.name: getattr(self, each.name) for each in fields(DeskRules)})


class SharedFileSettings(BaseModel, frozen=True, extra="forbid"):
    """Where files go that other machines read: reports, charts, the archive and Dagster's compute logs."""

    #: A folder that all machines mount, or `s3://BUCKET/PREFIX`, which needs `strikecast[s3]` and takes keys, region
    #: and endpoint from AWS_ variables; `strikecast files share` prepares and tests it. By default files stay in the
    #: home folder, and small ones are stored in the database, too.
    url: str | None = Field(
        default=None, pattern=r"^(/[^/].*|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*)$"
    )

    @property
    def bucket_and_prefix(self) -> tuple[str, str] | None:
        """Bucket of S3, and the beginning of all keys, which is empty or ends with a slash; None for a folder."""
        if self.url is None or not self.url.startswith("s3://"):
            return None
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        return bucket, prefix and f"{prefix}/"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BackupSettings(RotationPolicy):
    """Creation and rotation of backups; `strikecast backup rotate --dry-run` shows the effect."""

    #: Tool and public key: `age:age1...`, `gpg:0123ABCD`, or `age:FILE` (recipients) or `gpg:FILE` (key).
    encrypt_to: str | None = Field(default=None, pattern=r"^(age|gpg):.+")
    #: For decryption: an age identity file, or the folder of a gpg keyring.
    identity: AbsolutePath | None = None
    #: Key that signs backups and by which a restore detects forged ones; by default `backup-signing.key` in the home
    #: folder.
    signing_key: AbsolutePath | None = None
    #: As for pg_dump, such as `zstd:3` or `gzip:6`; by default `zstd:3` if pg_dump supports it, else `gzip:1`.
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

    #: Recipients as apprise's addresses: `mailtos://user:password@example.org`, `json://host/path`, ...
    urls: tuple[SecretStr, ...] = ()
    #: Schedules and sensors that are off on purpose, by name: no alert is raised for them.
    off_on_purpose: tuple[str, ...] = ()


def _is_address_of(*schemes: str) -> AfterValidator:
    def check(url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(schemes):
            raise ValueError(f"must start with {' or '.join(schemes)}")
        return url

    return AfterValidator(check)


class WorkerSettings(BaseModel, frozen=True, extra="forbid"):
    """Runs on other machines, by Celery: docs/workers.md. Without `broker_url`, all runs are on this machine."""

    #: RabbitMQ, such as `amqps://strikecast:password@rabbit.example.org/strikecast`; needs `database_url`.
    broker_url: Annotated[SecretStr | None, _is_address_of("amqp://", "amqps://")] = None
    #: Certificate authority of the broker with `amqps`; by default those that the system trusts.
    broker_ca: AbsolutePath | None = None
    #: Redis, such as `rediss://:password@redis.example.org/0`, in which workers keep the states of tasks for Celery's
    #: own tools; strikecast reads nothing there.
    result_url: Annotated[SecretStr | None, _is_address_of("redis://", "rediss://")] = None
    #: Beginning of the names of RabbitMQ's queues; two installations on one broker need two.
    queue_prefix: str = Field(default="strikecast", pattern=r"^[a-z0-9_-]{1,40}$")
    #: Runs handed to workers at once, those that wait at the broker included; further ones wait in Dagster's queue.
    max_concurrent_runs: int = Field(default=8, ge=1, le=1_000)
    #: Runs that may execute the same asset at once, of those that workers build.
    pool_limit: int = Field(default=8, ge=1, le=1_000)
    #: A run that no worker takes for this long fails.
    queue_timeout_seconds: int = Field(default=3_600, ge=10, le=604_800)
