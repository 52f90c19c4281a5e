"""Encoding of the desk's states, inputs and events."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest
from desk_inputs import BEGAN, EAGER, random_inputs

from pipelines.domain.desk.desk import apply, apply_all
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage
from pipelines.errors import StateError
from pipelines.storage.desk.codec import EVENTS, dump_events, dump_inputs, dump_state, load_inputs, load_state


@pytest.fixture(scope="module")
def inputs() -> list[DeskInput]:
    return random_inputs(1, 700)


def replayed(inputs: list[DeskInput]) -> tuple[DeskState, list[DeskEvent]]:
    state = DeskState.opened("paper", EAGER, BEGAN)
    return state, apply_all(state, inputs)


def test_the_inputs_have_trades_of_every_kind_of_end(inputs: list[DeskInput]) -> None:
    state, kinds, stages = DeskState.opened("paper", EAGER, BEGAN), Counter[EventKind](), set[Stage]()
    for given in inputs:
        kinds.update(event.kind for event in apply(state, given))
        stages.update(trade.stage for trade in state.ended.values())
    assert {*EventKind} - kinds.keys() == set()
    assert stages == {
        Stage.CLOSED,
        Stage.SETTLED,
        Stage.REFUNDED,
        Stage.CANCELLED,
    }
    assert state.active


def test_a_state_is_loaded_as_it_was(inputs: list[DeskInput]) -> None:
    state, _ = replayed(inputs)
    content = dump_state(state)
    loaded = load_state(content)
    assert loaded == state
    assert dump_state(loaded) == content


def test_a_loaded_state_goes_on_as_the_one_that_was_saved(inputs: list[DeskInput]) -> None:
    state, _ = replayed(inputs[:400])
    loaded = load_state(dump_state(state))
    assert dump_events(apply_all(loaded, inputs[400:])) == dump_events(apply_all(state, inputs[400:]))
    assert dump_state(loaded) == dump_state(state)


def test_equal_states_give_equal_bytes_in_any_order_of_keys(inputs: list[DeskInput]) -> None:
    state, _ = replayed(inputs)
    other = deepcopy(state)
    for name in ("active", "ended", "totals", "taken", "daily_gain_usd"):
        setattr(other, name, dict(reversed(getattr(state, name).items())))
    assert dump_state(other) == dump_state(state)


def test_one_more_cent_gives_other_bytes(inputs: list[DeskInput]) -> None:
    state, _ = replayed(inputs)
    before = dump_state(state)
    state.max_drawdown_usd += Decimal("0.0001")
    assert dump_state(state) != before


def test_inputs_and_events_are_loaded_as_they_were(inputs: list[DeskInput]) -> None:
    assert load_inputs(dump_inputs(inputs)) == inputs
    assert dump_inputs(load_inputs(dump_inputs(inputs))) == dump_inputs(inputs)
    _, events = replayed(inputs)
    assert EVENTS.validate_json(dump_events(events)) == events


def test_decimals_keep_their_digits() -> None:
    digits = Decimal("123456789.12345678901234")
    state = DeskState.opened("paper", replace(EAGER, capital_usd=digits, stake_usd=Decimal("1E+3")), BEGAN)
    loaded = load_state(dump_state(state))
    assert loaded.book.cash_usd == digits
    assert str(loaded.rules.stake_usd) == "1E+3"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "state"),
        (b'{"campaign": "paper"}', "rules: Field required"),
        (b'[{"kind": "board"}]', "0.board.at: Field required"),
        (b'[{"kind": "other"}]', "'other'"),
    ],
    ids=["empty", "list", "incomplete", "board", "kind"],
)
def test_other_content_is_refused(content: bytes, problem: str) -> None:
    load = load_inputs if b"kind" in content else load_state
    with pytest.raises(StateError, match=problem):
        load(content)


def test_a_number_that_is_none_is_refused() -> None:
    content = orjson.loads(dump_state(DeskState.opened("paper", EAGER, BEGAN)))
    content["max_drawdown_usd"] = "NaN"
    with pytest.raises(StateError, match="max_drawdown_usd"):
        load_state(orjson.dumps(content))
