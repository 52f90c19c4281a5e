"""Desk states, inputs and events as JSON that loads as exactly the same values.

Equal values give equal bytes: fields have one order, times are ISO 8601 in UTC, and decimals are strings with all of
their digits. The keys of a state are sorted: after jsonb, which orders keys in its own way, it gives the same bytes.
"""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Trade
from pipelines.errors import StateError

AnyInput = Annotated[DeskInput, Field(discriminator="kind")]
STATE = TypeAdapter(DeskState)
TRADES = TypeAdapter(dict[int, Trade])
INPUT = TypeAdapter[DeskInput](AnyInput)
INPUTS = TypeAdapter[list[DeskInput]](list[AnyInput])
EVENTS = TypeAdapter(list[DeskEvent])

Value = TypeVar("Value")


def dump_state(state: DeskState) -> bytes:
    """The state as JSON."""
    return orjson.dumps(STATE.dump_python(state, mode="json"), option=orjson.OPT_SORT_KEYS)


def load_state(content: bytes) -> DeskState:
    """The state of `dump_state`. Raises StateError for anything else."""
    return load(STATE, content, "state")


def dump_inputs(inputs: Iterable[DeskInput]) -> bytes:
    """Inputs as one JSON list, without what is None.

    A minute of two series takes about 25 ms. Each input is encoded on its own, so that in a thread it delays no other.
    """
    return b"[%b]" % b",".join(INPUT.dump_json(each, exclude_none=True) for each in inputs)


def load_inputs(content: bytes) -> list[DeskInput]:
    """The inputs of `dump_inputs`. Raises StateError for anything else."""
    return load(INPUTS, content, "list of inputs")


def dump_events(events: Iterable[DeskEvent]) -> bytes:
    """Events as one JSON list."""
    return EVENTS.dump_json(list(events))


def load(adapter: TypeAdapter[Value], content: bytes | dict[str, Any], name: str) -> Value:
    """JSON text or parsed JSON as a value of the adapter. Raises StateError naming every field that does not fit."""
    try:
        if isinstance(content, bytes):
            return adapter.validate_json(content)
        return adapter.validate_python(content)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise StateError(f"not a desk's {name}: {'; '.join(problems)}") from error
