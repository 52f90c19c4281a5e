"""Columns of recordings as exact values: prices in 0.0001 dollars, contracts in 0.01, instants in UTC.

What cannot be read is null in the value and true in the flag beside it, so that the row can be rejected. A column whose
meaning is in doubt raises MarketError.
"""

from collections.abc import Sequence
from enum import StrEnum

import polars as pl

from pipelines.errors import MarketError

#: Price units in a dollar, and units of contracts in a contract.
PER_DOLLAR = 10_000
PER_CONTRACT = 100
#: Prices and contracts of files are binary fractions; what is further from a unit is finer than it.
NEARLY = 1e-4
#: Numbers of seconds since 1970 that can be times: 2001 to 2286.
EPOCH_SECONDS = (1e9, 1e10)


class Unit(StrEnum):
    """Unit of prices."""

    CENTS = "cents"
    DOLLARS = "dollars"

    @property
    def scale(self) -> int:
        """Price units in one of it."""
        return PER_DOLLAR // 100 if self is Unit.CENTS else PER_DOLLAR


def unit_of(frame: pl.DataFrame, bids: Sequence[str], name: str) -> Unit:
    """The unit of prices, by the values of the bids: whole numbers up to 100 are cents, fractions below 1 dollars.

    Raises MarketError when they may be either.
    """
    values = pl.concat([_number(frame, column) for column in bids]).drop_nulls()
    inside = values.filter((values > 0) & (values != 1))
    has_cents = bool(((inside > 1) & (inside <= 100)).any())
    has_dollars = bool((inside < 1).any())
    if has_cents == has_dollars:
        seen = "some above 1, some between 0 and 1" if has_cents else "none between 0 and 1, or from 2 to 100"
        raise MarketError(f"{name}: the bids ({', '.join(bids)}) may be cents or dollars: {seen}; nothing was stored")
    return Unit.CENTS if has_cents else Unit.DOLLARS


def prices(frame: pl.DataFrame, column: str, unit: Unit) -> pl.Series:
    """Prices as int64 in 0.0001 dollars; null where missing, -1 for those that are no multiple, or no numbers."""
    return _units(_number(frame, column), unit.scale)


def contracts(frame: pl.DataFrame, column: str) -> pl.Series:
    """Numbers of contracts as int64 in hundredths; null where missing, -1 for what is none."""
    return _units(_number(frame, column), PER_CONTRACT)


def instants(frame: pl.DataFrame, column: str, name: str) -> pl.Series:
    """Instants in UTC, null where they cannot be read.

    Raises MarketError for times without a zone, and numbers that are not seconds since 1970.
    """
    values = frame[column]
    kind = values.dtype
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            raise MarketError(f"{name}: {column} has times without a zone; nothing was stored")
        return values.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    if kind == pl.String:
        zoned = values.str.contains(r"(Z|[+-]\d\d:?\d\d)$")
        if not zoned.all():
            first = values.filter(~zoned)[0]
            raise MarketError(f"{name}: {column} {first!r} has no zone, expected Z or an offset; nothing was stored")
        return values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    if kind.is_numeric():
        seconds = values.cast(pl.Float64)
        if not seconds.drop_nulls().is_between(*EPOCH_SECONDS).all():
            raise MarketError(f"{name}: {column} {seconds.max()!r} is not in seconds since 1970; nothing was stored")
        return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")).alias(column)
    raise MarketError(f"{name}: {column} has the type {kind}, expected times; nothing was stored")


def _number(frame: pl.DataFrame, column: str) -> pl.Series:
    """As float64. What is no number becomes -1, which no price or count may be."""
    values = frame[column]
    numbers = values.cast(pl.Float64, strict=False)
    unreadable = values.is_not_null() & (numbers.is_null() | numbers.is_nan() | numbers.is_infinite())
    return numbers.set(unreadable, -1.0)


def _units(numbers: pl.Series, scale: int) -> pl.Series:
    scaled = numbers * scale
    whole = scaled.round()
    return whole.set((scaled - whole).abs() > NEARLY, -1.0).cast(pl.Int64)
