"""Replay the paper desk's journal: the same inputs must give the saved events and the saved state, byte for byte."""

import copy
from datetime import datetime

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.state import DeskState
from pipelines.domain.models.invariants import CheckResult
from pipelines.domain.monitoring.desk_checks import check_replay
from pipelines.errors import NoDataError, StateError
from pipelines.storage.desk.codec import dump_state
from pipelines.storage.desk.journal import read_events_up_to, read_some_inputs, read_span
from pipelines.storage.desk.rows import EventRow
from pipelines.storage.postgres.connection import Database, Role

#: Inputs read at once: no transaction lasts while they are applied.
CHUNK = 2_000


def replay(database: Database, campaign: str, since: datetime) -> CheckResult:
    """Replay the journal of a campaign from the state saved at `since` (aware UTC), or the oldest that is kept.

    Fails, too, for inputs that are missing or cannot be read. Of nothing before the first save.
    """
    with database.connect("desk replay", Role.PIPELINE) as connection:
        span = read_span(connection, campaign, since)
    if span is None:
        return check_replay(0, [])
    first, last = span.first.inputs, span.last.inputs
    state, events = copy.deepcopy(span.first), []
    try:
        while state.inputs < last:
            with database.connect("desk replay", Role.PIPELINE) as connection:
                given = read_some_inputs(connection, campaign, state.inputs, min(CHUNK, last - state.inputs))
            if not given:
                raise NoDataError(f"campaign {campaign!r}: inputs {state.inputs + 1:,} to {last:,} are not stored")
            for one in given:
                events += apply(state, one)
    except (NoDataError, StateError) as error:
        return check_replay(last - first, [str(error)])
    with database.connect("desk replay", Role.PIPELINE) as connection:
        stored = read_events_up_to(connection, campaign, span.newest_event, len(events))
    return check_replay(last - first, [*event_differences(events, stored), *state_differences(state, span.last)])


def event_differences(replayed: list[DeskEvent], stored: list[EventRow]) -> list[str]:
    """The first event that differs, in words; none when all are equal."""
    if len(replayed) != len(stored):
        return [f"{len(replayed)} events when replayed, {len(stored)} are stored"]
    for event, row in zip(replayed, stored, strict=True):
        if _compared(event) != _compared(row):
            return [f"event {row.event}: {event.kind} of trade {event.trade} when replayed, {row.kind} of {row.trade}"]
    return []


def _compared(event: DeskEvent | EventRow) -> tuple[object, ...]:
    """What is stored of an event beside its number and its posting."""
    told = (event.at, event.kind, event.reason, event.trade, event.symbol, event.ticker, event.side)
    return (*told, event.price, event.contracts, event.fee_usd)


def state_differences(replayed: DeskState, saved: DeskState) -> list[str]:
    """The fields of the state that differ, in words; none when all bytes are equal."""
    if dump_state(replayed) == dump_state(saved):
        return []
    fields = [name for name in vars(saved) if getattr(replayed, name) != getattr(saved, name)]
    return [f"the state differs in {', '.join(fields) or 'its bytes'}"]
