"""A strike table's types, ranges and null rules: by the published schema, and by the readers' model."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from sample_strike_tables import ABOVE, RANGES, UP_OR_DOWN, strike_table

from pipelines.live.strike_table_schema import QUOTE_FIELDS, Strike, StrikeTable, json_schema, require_strike_table

DOCS = Path(__file__).parents[3] / "docs"
GOLDEN = Path(__file__).parent / "strike_tables"
NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)


def example() -> dict[str, Any]:
    """The example of the documentation."""
    [text] = re.findall(r"```json\n(.*?)\n```", (DOCS / "strike-table.md").read_text(), re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((DOCS / "strike-table.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = json.loads((DOCS / "strike-table.schema.json").read_text())
    assert committed == json_schema(), "run `make reference`"
    script = [sys.executable, DOCS / "strike_table_schema.py"]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed == (DOCS / "strike-table.schema.json").read_text()


def test_the_page_lists_the_fields_in_their_order() -> None:
    page = (DOCS / "strike-table.md").read_text()
    table, strike = page.split("## Fields")[1].split("## Example")[0].split("Each object in `strikes`:")
    for text, model in ((table, StrikeTable), (strike, Strike)):
        cells = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        names = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert names == list(model.model_fields)
    assert list(example()) == list(StrikeTable.model_fields)
    assert list(example()["strikes"][0]) == list(Strike.model_fields)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_tables_conform_to_both(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    payload = json.loads(path.read_text())
    validator.validate(payload)
    require_strike_table(payload)


def test_the_example_of_the_documentation_conforms(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(example())
    require_strike_table(example())


def test_differences_and_edges_of_all_samples_are_exact() -> None:
    samples = [json.loads(path.read_text()) for path in GOLDEN.glob("*.json")]
    rows = [row for one in (example(), strike_table(95_100.0, NOW), *samples) for row in one["strikes"]]
    edges = 0
    for row in rows:
        yes = {"yes": 1.0, "no": -1.0}[row["active_side"]]
        for side, sign in (("yes", 1.0), ("no", -1.0)):
            ask, fee, edge = row[f"{side}_ask"], row[f"fee_{side}"], row[f"edge_{side}"]
            if row[f"{side}_diff"] is not None:
                of_side = row["yes_probability"] if side == "yes" else 100 - row["yes_probability"]
                assert row[f"{side}_diff"] == pytest.approx(of_side - ask), row["ticker"]
            if edge is not None:
                of_side = row["pooled_probability"] if sign == yes else 100 - row["pooled_probability"]
                assert edge == pytest.approx(of_side - ask - fee, abs=0.011), row["ticker"]
                edges += 1
    assert edges > 40


@pytest.mark.parametrize("series", [ABOVE, RANGES, UP_OR_DOWN])
@pytest.mark.parametrize("state", ["open", "halted", "closed: it closed early", "unavailable: timed out"])
@pytest.mark.parametrize("age_ms", [0, 2_000, 2_001, 90_000])
def test_tables_of_all_kinds_conform(
    series: str, state: str, age_ms: int, validator: jsonschema.Draft202012Validator
) -> None:
    for seconds in (0, 734, 753):
        at = NOW + timedelta(seconds=seconds)
        payload = strike_table(95_100.0, at, series=series, market_status=state, quote_age_ms=age_ms)
        validator.validate(orjson.loads(orjson.dumps(payload)))
        require_strike_table(orjson.loads(orjson.dumps(payload)))


def broken(**fields: Any) -> dict[str, Any]:
    return strike_table(95_100.0, NOW) | fields


def broken_strike(**fields: Any) -> dict[str, Any]:
    payload = strike_table(95_100.0, NOW)
    return payload | {"strikes": [payload["strikes"][0] | fields, *payload["strikes"][1:]]}


#: Of another type or beyond its range: refused by the readers, too.
MISTYPED = {
    "symbol": broken(symbol="btc"),
    "current_price": broken(current_price="95100"),
    "ttc": broken(ttc=754.5),
    "broker": broken(broker="polymarket"),
    "market_status": broken(market_status="opened"),
    "last_updated": broken(last_updated="2026-03-04 10:47:26"),
    "strikes": broken(strikes=[strike_table(95_100.0, NOW)["strikes"][0]] * 22),
    "momentum": broken(momentum=None),
    "series_ticker": broken(series_ticker="KX BTC"),
    "settlement": broken(settlement="median"),
    "known_values": broken(known_values=61),
    "pool": broken(pool={"served": "model", "reason": ""}),
    "status": broken(status="fine"),
    "price_age_ms": broken(price_age_ms=-1),
    "simulated": broken(simulated=0),
    "strikes.0.strike": broken_strike(strike=0),
    "strikes.0.probability": broken_strike(probability=100.01),
    "strikes.0.yes_ask": broken_strike(yes_ask=100),
    "strikes.0.no_bid": broken_strike(no_bid=0),
    "strikes.0.yes_bid_size": broken_strike(yes_bid_size=-1),
    "strikes.0.edge_yes": broken_strike(edge_yes="1.2"),
    "strikes.0.active_side": broken_strike(active_side="both"),
    "strikes.0.strike_type": broken_strike(strike_type="structured"),
    "strikes.0.market_status": broken_strike(market_status="paused"),
    "strikes.0.problems": broken_strike(problems="crossed"),
}


@pytest.mark.parametrize("field", MISTYPED)
def test_values_of_another_type_are_refused_by_name(field: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(MISTYPED[field])
    with pytest.raises(ValueError, match=rf"^{re.escape(field)}\b"):
        require_strike_table(MISTYPED[field])


#: What no session writes, and readers have no use for.
INCONSISTENT = {
    "an additional field": broken(more=1),
    "an additional field of a strike": broken_strike(more=1),
    "quotes while the market is not open": broken(market_status="halted"),
    "an open market without an event": broken(event_ticker=None),
    "a simulated exchange that does not say so": broken(broker="simulated"),
    "a basis without its value": broken(basis_bps=None),
    "old quotes": broken_strike(quote_age_ms=2_001),
    "quotes of an unknown age": broken_strike(quote_age_ms=None),
    "quotes of a market that is not active": broken_strike(market_status="inactive"),
    "quotes of no market": broken_strike(ticker=None),
    "an edge without a probability": broken_strike(pooled_probability=None),
    "a difference without a probability": broken_strike(probability=None, yes_probability=None),
    "an edge without an ask": broken_strike(yes_ask=None),
    "a size without a bid": broken_strike(yes_bid=None),
    "a market on values above without a floor": broken_strike(floor_strike=None),
    "a market on values above with a cap": broken_strike(cap_strike=95_250.0),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_the_schema_has_the_null_rules(case: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(INCONSISTENT[case])


def test_every_field_is_required(validator: jsonschema.Draft202012Validator) -> None:
    whole = strike_table(95_100.0, NOW)
    validator.validate(whole)
    for name in whole:
        assert not validator.is_valid({key: value for key, value in whole.items() if key != name}), name
    for name in whole["strikes"][0]:
        strikes = [{key: value for key, value in row.items() if key != name} for row in whole["strikes"]]
        assert not validator.is_valid(whole | {"strikes": strikes}), name


def test_readers_ignore_additional_fields() -> None:
    assert require_strike_table(broken(more=1)).symbol == "BTC"


def test_quote_fields_are_fields_of_a_strike() -> None:
    assert set(QUOTE_FIELDS) < set(Strike.model_fields)
