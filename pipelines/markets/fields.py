"""Fields of the exchange's messages: exact numbers, instants, tickers, and the names it uses."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipelines.domain.markets.contracts import MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.fees import FeeType
from pipelines.errors import MarketError, single_line

NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
#: Digits before and after the decimal point that a number of the exchange can have.
MAX_DIGITS, MAX_DECIMALS = 15, 8
TICKER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _number(value: object) -> Decimal:
    """An exact number from JSON: a string, an integer, or a Decimal (JSON is parsed without floats)."""
    if isinstance(value, str):
        return _number_of_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MAX_DIGITS:
        value = Decimal(value)
    return _bounded(value)


@lru_cache(maxsize=4_096)
def _number_of_text(text: str) -> Decimal:
    """Prices are few and come each second."""
    is_number = len(text) <= MAX_DIGITS + MAX_DECIMALS + 2 and NUMBER.fullmatch(text)
    return _bounded(Decimal(text) if is_number else None)


def _bounded(value: object) -> Decimal:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ValueError("expected a number")
    exponent = value.as_tuple().exponent
    if value.adjusted() >= MAX_DIGITS or (isinstance(exponent, int) and exponent < -MAX_DECIMALS):
        raise ValueError(f"expected at most {MAX_DIGITS} digits and {MAX_DECIMALS} decimals")
    return value


def _number_or_nothing(value: object) -> Decimal | None:
    return None if value is None or value == "" else _number(value)


def _price(value: object) -> Decimal | None:
    price = _number_or_nothing(value)
    if price is not None and not 0 <= price <= 1:
        raise ValueError("expected 0 to 1")
    return price


def _grouped_number(value: object) -> Decimal | None:
    return _number_or_nothing(value.replace(",", "") if isinstance(value, str) else value)


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("expected a time as a string")
    return _instant_of_text(value)


@lru_cache(maxsize=1_024)
def _instant_of_text(text: str) -> datetime:
    """All markets of an event have the same times."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("expected a time zone")
    return found.astimezone(UTC)


Kind = TypeVar("Kind", bound=StrEnum)


def _member_of(kind: type[Kind]) -> Callable[[object], Kind]:
    members: dict[object, Kind] = {str(one): one for one in kind}

    def member(value: object) -> Kind:
        found = members.get(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"unknown, expected {', '.join(kind)}")
        return found

    return member


def _result(value: object) -> MarketResult | None:
    return None if value is None or value == "" else _member_of(MarketResult)(value)


def _list(value: object) -> object:
    """A list; the exchange writes an empty one as null, too."""
    return [] if value is None else value


Number = Annotated[Decimal, BeforeValidator(_number)]
OptionalNumber = Annotated[Decimal | None, BeforeValidator(_number_or_nothing)]
#: A number that may have commas between thousands.
GroupedNumber = Annotated[Decimal | None, BeforeValidator(_grouped_number)]
Dollars = Annotated[Decimal | None, BeforeValidator(_price)]
Cents = Annotated[int, Field(ge=0, le=100)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Ticker = Annotated[str, Field(pattern=TICKER)]
Status = Annotated[MarketStatus, BeforeValidator(_member_of(MarketStatus))]
Strikes = Annotated[StrikeType, BeforeValidator(_member_of(StrikeType))]
Result = Annotated[MarketResult | None, BeforeValidator(_result)]
FeeKind = Annotated[FeeType, BeforeValidator(_member_of(FeeType))]
Rows = Annotated[list[Any], BeforeValidator(_list)]


class Message(BaseModel):
    """A message; fields that are not listed are ignored, because the exchange adds some."""

    model_config = ConfigDict(strict=True, frozen=True)


M = TypeVar("M", bound=Message)


def read(kind: type[M], body: object, what: str) -> M:
    """A message. Raises MarketError that names `what` and each field that is not as expected."""
    if not isinstance(body, dict):
        raise MarketError(f"{what}: expected a JSON object, received {str(body)[:60]!r}")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problems = [_problem(one["loc"], one["type"], one["msg"], one["input"]) for one in error.errors()]
        raise MarketError(f"{what}: {'; '.join(problems)}") from None


def _problem(location: Sequence[int | str], kind: str, message: str, value: object) -> str:
    field = ".".join(map(str, location))
    if kind == "missing":
        return f"{field} missing"
    shown = single_line(str(value) if isinstance(value, Decimal) else repr(value), 60)
    return f"{field} {shown}: {message.removeprefix('Value error, ')}"
