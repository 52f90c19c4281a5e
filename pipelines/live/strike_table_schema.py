"""Types, ranges and null rules of a strike table, as docs/strike-table.md lists them.

Readers refuse other types by the name of the field, and ignore additional fields. `json_schema` is the strict form, for
those who write or check such files: `make reference` writes it to docs/strike-table.schema.json.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipelines.domain.configuration.names import SYMBOL_PATTERN
from pipelines.domain.markets.contracts import HAS_CAP, HAS_FLOOR, MarketStatus, Side, StrikeType
from pipelines.domain.markets.settlement import VALUES, SettlementRule
from pipelines.domain.models.strike_table import MAX_QUOTE_AGE, OPEN, ROWS
from pipelines.domain.prices.ticks import MILLISECOND
from pipelines.live.file_schema import BasisField, Count, Name, Number, Percentage, Price, require

#: Quotes and what is computed from them: null for a market that is not open, and for an old quote.
QUOTE_FIELDS = (
    *("yes_ask", "no_ask", "yes_diff", "no_diff", "yes_bid", "no_bid"),
    *("yes_bid_size", "no_bid_size", "yes_ask_size", "no_ask_size", "fee_yes", "fee_no", "edge_yes", "edge_no"),
)
Text = Annotated[str, Field(max_length=1_000)]
Texts = Annotated[list[Text], Field(max_length=1_000)]
Cents = Annotated[float, Field(gt=0, lt=100)]
Points = Annotated[float, Field(ge=-200, le=200)]
Contracts = Annotated[float, Field(ge=0, le=1e12)]
Milliseconds = Annotated[int, Field(ge=0, le=2**53)]
Ticker = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Za-z0-9_.-]{0,119}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$")]


#: Of a table's `market_status`: a reason may follow all words but `open`.
STATUS_PATTERN = f"^({OPEN}|(halted|closed|no event|unavailable)(: .+)?)$"


def _null(*names: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "null"} for name in names}}


def _is(**values: Any) -> dict[str, Any]:
    return {"properties": {name: {"const": value} for name, value in values.items()}}


def _typed(**types: str) -> dict[str, Any]:
    return {"properties": {name: {"type": one} for name, one in types.items()}}


def _one_of(name: str, values: Iterable[str]) -> dict[str, Any]:
    return {"properties": {name: {"enum": sorted(values)}}}


STRIKE_RULES: list[JsonValue] = [
    {
        "if": {
            "properties": {
                "market_status": {"const": str(MarketStatus.ACTIVE)},
                "quote_age_ms": {"type": "integer", "maximum": MAX_QUOTE_AGE // MILLISECOND},
            }
        },
        "else": _null(*QUOTE_FIELDS),
    },
    {"if": _null("ticker"), "then": _null("market_status", "strike_type", "volume", "quote_age_ms")},
    {"if": _null("probability"), "then": _null("yes_probability", "yes_diff", "no_diff")},
    {"if": _null("pooled_probability"), "then": _null("edge_yes", "edge_no")},
    {"if": _null("yes_bid"), "then": _null("yes_bid_size")},
    {"if": _null("no_bid"), "then": _null("no_bid_size")},
    {"if": _null("yes_ask"), "then": _null("yes_ask_size", "yes_diff", "fee_yes", "edge_yes")},
    {"if": _null("no_ask"), "then": _null("no_ask_size", "no_diff", "fee_no", "edge_no")},
    {"if": _one_of("strike_type", HAS_FLOOR), "then": _typed(floor_strike="number"), "else": _null("floor_strike")},
    {"if": _one_of("strike_type", HAS_CAP), "then": _typed(cap_strike="number"), "else": _null("cap_strike")},
]
TABLE_RULES: list[JsonValue] = [
    {
        "if": _is(market_status=OPEN),
        "then": _typed(event_ticker="string"),
        "else": {"properties": {"strikes": {"items": _null(*QUOTE_FIELDS)}}},
    },
    {"if": _is(broker="simulated"), "then": _is(simulated=True), "else": _is(simulated=False)},
    {"if": _null("basis"), "then": _null("basis_bps"), "else": _typed(basis_bps="number")},
]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


#: In a strict model, an enumeration accepts no text.
_Enumerated = Field(strict=False)


class Strike(_Part):
    """One market. Without an event it is a strike of the ladder, whose market fields are null."""

    model_config = ConfigDict(json_schema_extra={"allOf": STRIKE_RULES})

    strike: Price
    """USD: the lowest value of the index, to the cent, that is YES; the cap of a market on values below it."""
    buffer: Annotated[float, Field(ge=0, le=1e12)]
    """Distance between price and strike, USD."""
    buffer_pct: Annotated[float, Field(ge=0, le=1e12)]
    """The same as a percentage of the price."""
    probability: Percentage | None
    """Probability of `active_side` by the model, percent."""
    yes_ask: Cents | None
    """Lowest price at which YES is offered, cents."""
    no_ask: Cents | None
    """Lowest price at which NO is offered, cents."""
    yes_diff: Points | None
    """P(YES) by the model less `yes_ask`, points."""
    no_diff: Points | None
    """P(NO) by the model less `no_ask`, points."""
    volume: Contracts | None
    """Contracts traded."""
    ticker: Ticker | None
    """The market's ticker."""
    active_side: Annotated[Side, _Enumerated]
    """`yes` if the market would be YES at the current price."""
    yes_bid: Cents | None
    """Highest bid for YES, cents."""
    no_bid: Cents | None
    """Highest bid for NO, cents."""
    yes_bid_size: Contracts | None
    """Contracts at `yes_bid`."""
    no_bid_size: Contracts | None
    """Contracts at `no_bid`."""
    yes_ask_size: Contracts | None
    """Contracts at `yes_ask`."""
    no_ask_size: Contracts | None
    """Contracts at `no_ask`."""
    fee_yes: Annotated[float, Field(ge=0, le=100)] | None
    """Taker fee of one contract at `yes_ask`, cents."""
    fee_no: Annotated[float, Field(ge=0, le=100)] | None
    """Taker fee of one contract at `no_ask`, cents."""
    edge_yes: Points | None
    """Pooled P(YES) less `yes_ask` and `fee_yes`, points."""
    edge_no: Points | None
    """Pooled P(NO) less `no_ask` and `fee_no`, points."""
    quote_age_ms: Milliseconds | None
    """Age of the quotes when the file was written."""
    strike_type: Annotated[StrikeType, _Enumerated] | None
    """How the index is compared with the strikes."""
    floor_strike: Price | None
    """The market's own lower strike, USD."""
    cap_strike: Price | None
    """The market's own upper strike, USD."""
    yes_probability: Percentage | None
    """P(YES) by the model, percent."""
    pooled_probability: Percentage | None
    """Probability of `active_side` by the pool of model and market, or by the market's mid; percent."""
    market_status: Annotated[MarketStatus, _Enumerated] | None
    """The exchange's status of this market."""
    problems: Texts
    """What is wrong with the quotes, such as a crossed book."""


class Deltas(_Part):
    """Returns of the price over the last minutes, percent."""

    delta_1m: Number | None
    delta_2m: Number | None
    delta_3m: Number | None
    delta_4m: Number | None
    delta_15m: Number | None
    delta_30m: Number | None


class Momentum(_Part):
    """Recent returns of the price."""

    weighted_score: Number | None
    """The momentum score, percent."""
    deltas: Deltas


class Pool(_Part):
    """Which probability edges are computed from."""

    served: Literal["pool", "mid"]
    """The pool of model and market, or the market's mid."""
    reason: Text
    """Why."""


class StrikeTable(_Part):
    """A strike table of strikecast: one event of an exchange with our probabilities. Times are UTC."""

    model_config = ConfigDict(json_schema_extra={"allOf": TABLE_RULES})

    symbol: Annotated[str, Field(pattern=f"^{SYMBOL_PATTERN.pattern}$")]
    current_price: Price
    """Newest price, USD."""
    ttc: Annotated[int, Field(ge=0, le=32 * 86_400)]
    """Seconds to the event's close, rounded up; without an event to that of the hour."""
    broker: Literal["kalshi", "simulated"]
    event_ticker: Ticker | None
    """Null while no event is open."""
    market_title: Text | None
    """The event's title, as the exchange has it."""
    strike_tier: Price
    """Distance between adjacent strikes of the symbol's ladder, USD."""
    market_status: Annotated[str, Field(max_length=1_000, pattern=STATUS_PATTERN)]
    """open, halted, closed, no event, or unavailable; where not open, `: reason` may follow."""
    last_updated: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$")]
    """When the file was written."""
    strikes: Annotated[list[Strike], Field(max_length=ROWS)]
    """The markets nearest to the price, nearest first."""
    momentum: Momentum
    fingerprint: Name | None
    """The view in `analytics` that the model's answers come from."""
    series_ticker: Ticker
    market_close: Time
    """When the event closes; without an event, the hour."""
    settlement: Annotated[SettlementRule, _Enumerated]
    """What the markets settle on."""
    known_values: Annotated[int, Field(ge=0, le=VALUES)]
    """Of the mean of the last minute: how many values are known."""
    known_mean: Price | None
    """Their mean, USD."""
    basis_bps: Number | None
    """Log of the index over the price, basis points."""
    basis: BasisField | None
    """The same with its source and age."""
    warnings: Texts
    """What is assumed where something is not known."""
    pool: Pool
    status: Literal["ok", "degraded", "replay", "stale"]
    """Of the price and the probabilities, as in the probability file."""
    reasons: Texts
    """Why the status is not ok."""
    price_age_ms: Milliseconds
    """Age of the price when the file was written."""
    model: Name | None
    """The model that answers."""
    model_version: Count | None
    """Its generation."""
    session: Count | None
    """The live session that wrote the file."""
    source: Name
    """Where the prices come from."""
    simulated: bool
    """Whether the exchange is simulated."""


def require_strike_table(payload: Any) -> StrikeTable:
    """The table. Raises ValueError that names the first field of another type or range, without its value."""
    return require(StrikeTable, payload)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a strike table, which permits no additional fields."""
    schema = StrikeTable.model_json_schema(mode="serialization")
    for part in (schema, *schema["$defs"].values()):
        if part.get("type") == "object":
            part["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
