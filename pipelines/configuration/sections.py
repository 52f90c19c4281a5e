"""Sections of the settings; the policies of maintenance and the model's configuration are in the domain.

The comment `#:` of a field is its description in docs/settings.md and in the file of `strikecast config init`.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.dataclasses import dataclass

from pipelines.domain.configuration.strikes import StrikeChoice
from pipelines.domain.maintenance.backups import RotationPolicy
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
    #: `false` leaves the symbol out, also a built-in one.
    enabled: bool = True


#: Configured unless the settings disable them; a table with the same name changes single values.
BUILT_IN_SYMBOLS: Mapping[str, Mapping[str, float]] = {
    "BTC": {"strike_tier_usd": 250.0},
    "ETH": {"strike_tier_usd": 20.0},
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
