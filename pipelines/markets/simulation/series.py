"""Series of the simulated exchange: when their events open and close, and what these and their markets are called.

Events are named after their close in US Eastern time, as on the exchange.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from pipelines.domain.markets.contracts import INDEX_STEP_USD, PriceRange
from pipelines.errors import SettingsError

EASTERN = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)
QUARTER_HOUR = timedelta(minutes=15)
#: The events that close at this Eastern hour open a day earlier than others.
LONG_HOUR = 17
LONG_LIFE = timedelta(hours=25)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
ONE = Decimal(1)


class SeriesKind(StrEnum):
    """What the markets of a series ask."""

    #: Above each of many strikes.
    LADDER = "ladder"
    #: Within each of many ranges, below the lowest and above the highest.
    RANGE = "range"
    #: At or above the value that the market before settled on.
    QUARTER_HOUR = "quarter_hour"


@dataclass(frozen=True)
class Series:
    """A series of events on the index of a symbol. Raises SettingsError for a tier below two cents.

    `tier_usd`: distance between strikes. `fee_change`: whether its fee multiplier changes with the month.
    """

    ticker: str
    symbol: str
    tier_usd: Decimal
    fee_multiplier: Decimal = ONE
    fee_change: bool = False

    def __post_init__(self) -> None:
        if self.tier_usd < 2 * INDEX_STEP_USD or self.tier_usd % INDEX_STEP_USD:
            raise SettingsError(
                f"series {self.ticker}: strikes {self.tier_usd} USD apart, expected whole cents and at least two, "
                "since the index of the simulated exchange has whole cents"
            )

    @property
    def kind(self) -> SeriesKind:
        """By the exchange's names, such as KXBTCD, KXBTC and KXBTC15M."""
        if self.ticker.endswith("15M"):
            return SeriesKind.QUARTER_HOUR
        return SeriesKind.LADDER if self.ticker.endswith("D") else SeriesKind.RANGE

    @property
    def price_level_structure(self) -> str:
        """The exchange's name of `price_ranges`."""
        return "tapered_deci_cent" if self.kind is SeriesKind.QUARTER_HOUR else "linear_cent"

    @property
    def price_ranges(self) -> tuple[PriceRange, ...]:
        """Whole cents, or tenths of a cent near the ends."""
        cent, tenth = Decimal("0.01"), Decimal("0.001")
        if self.kind is not SeriesKind.QUARTER_HOUR:
            return (PriceRange(Decimal(0), ONE, cent),)
        low, high = Decimal("0.1"), Decimal("0.9")
        return (PriceRange(Decimal(0), low, tenth), PriceRange(low, high, cent), PriceRange(high, ONE, tenth))

    def closes(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The closes later than `after` and not later than `until` (aware), UTC, in order."""
        every = QUARTER_HOUR if self.kind is SeriesKind.QUARTER_HOUR else HOUR
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        close = epoch + ((after - epoch) // every + 1) * every
        while close <= until:
            yield close
            close += every

    def opens_at(self, closes_at: datetime) -> datetime:
        """When the event with a scheduled close opens."""
        if self.kind is SeriesKind.QUARTER_HOUR:
            return closes_at - QUARTER_HOUR
        return closes_at - (LONG_LIFE if closes_at.astimezone(EASTERN).hour == LONG_HOUR else HOUR)

    def event_ticker(self, closes_at: datetime) -> str:
        """The ticker of the event with a scheduled close, such as KXBTCD-26JUL2214.

        In the hour that comes twice when clocks are put back, the second of two events of the same name ends with R.
        """
        local = closes_at.astimezone(EASTERN)
        minute = f"{local:%M}" if self.kind is SeriesKind.QUARTER_HOUR else ""
        repeated = "R" if local.fold else ""
        return f"{self.ticker}-{local:%y}{MONTHS[local.month - 1]}{local:%d%H}{minute}{repeated}"

    def title(self, closes_at: datetime) -> str:
        """The title of an event."""
        local = closes_at.astimezone(EASTERN)
        clock = f"{local:%-I}{local:%p}".lower() if not local.minute else f"{local:%-I:%M}{local:%p}".lower()
        asks = "price range" if self.kind is SeriesKind.RANGE else "price"
        day = f"{MONTHS[local.month - 1].title()} {local.day}, {local.year}"
        return f"{self.symbol} {asks} on {day} at {clock} {local:%Z}? (simulated)"

    def fee_multiplier_at(self, at: datetime) -> Decimal:
        """The fee multiplier at an instant (aware): half in every second month UTC where the series has changes."""
        month = at.astimezone(UTC).month
        return self.fee_multiplier / 2 if self.fee_change and month % 2 else self.fee_multiplier

    def next_fee_change(self, at: datetime) -> datetime | None:
        """The announced change of the fee multiplier: the next month's begin, None for a series without changes."""
        if not self.fee_change:
            return None
        utc = at.astimezone(UTC)
        return datetime(utc.year + utc.month // 12, utc.month % 12 + 1, 1, tzinfo=UTC)
