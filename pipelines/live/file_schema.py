"""Types and ranges of the fields of a probability file that its readers use, as docs/live-json.md lists them."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

Model = TypeVar("Model", bound=BaseModel)
#: A number beyond it is no price, and too large for steps of cents in a chart.
MAX_NUMBER = 1e12
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Price = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
Percentage = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class Probability(BaseModel, strict=True):
    """One strike."""

    strike: Price
    move_percent: Number
    prob_beyond: Percentage | None
    direction: Name
    positive_prob: Percentage | None
    negative_prob: Percentage | None


class Interval(BaseModel, strict=True):
    """The confidence interval of one strike."""

    prob_beyond_low: Percentage | None
    prob_beyond_high: Percentage | None


class Quantile(BaseModel, strict=True):
    """One quantile of the closing price."""

    percent: Percentage
    price: Price | None


class CurvePoint(BaseModel, strict=True):
    """One point of the curve."""

    price: Price
    at_or_above: Percentage
    low: Percentage | None
    high: Percentage | None


class BasisField(BaseModel, strict=True):
    """The basis between the market's index and the price."""

    bps: Number
    source: Name
    timestamp: Name
    age_seconds: Count
    refused: list[str]


class File(BaseModel, strict=True):
    """A file, with or without a price."""

    timestamp: Name
    price_timestamp: Name | None
    current_price: Price | None
    status: Name
    reasons: list[str]


class PricedFile(File, strict=True):
    """A file with a price."""

    price_timestamp: Name
    current_price: Price
    base_strike: Price
    ttc_seconds: Count
    momentum_score: Number | None
    probabilities: list[Probability]
    fingerprint_table: Name | None
    clamped: Count
    model_version: Count | None
    market_close: Name
    model: Name | None
    sigma: Number | None
    intervals: list[Interval]
    quantiles: list[Quantile] = []
    curve: list[CurvePoint] = []
    settlement: Name = "last_price"
    known_values: Count = 0
    known_mean: Price | None = None
    basis: BasisField | None = None
    warnings: list[str] = []


def require_probability_file(payload: Any) -> None:
    """Raise ValueError that names the first field of another type or beyond its range, without its value."""
    if require(File, payload).current_price is not None:
        require(PricedFile, payload)


def require(model: type[Model], payload: Any) -> Model:
    """The payload as a model; raises ValueError as `require_probability_file` does."""
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from None
