"""What a live session saves of itself, in the shape of the state store."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from pipelines.errors import NoDataError
from pipelines.storage.database import Database, Role
from pipelines.storage.state_store import SnapshotType, StateStore


def snapshot_name(session: int) -> str:
    """The name under which a live session's snapshots are kept."""
    return f"live-{session}"


def live_state(
    session: int, started_at: datetime, config: Mapping[str, Any], totals: Mapping[str, float], loop_count: int,
    status: str,
) -> dict[str, Any]:  # fmt: skip
    """A live session's state: it has no positions. `totals`: counts on top of those of the sessions before it."""
    return {
        "session": {
            "session_id": snapshot_name(session), "session_start_time": started_at, "mode": "live",
            "paper_campaign_id": None, "config": {**config, "totals": dict(totals)}, "loop_count": loop_count,
            "status": status,
        },
        "positions": {"active_orders": {}},
        "metrics": None,
        "risk_guard": None,
    }  # fmt: skip


def totals_of(database: Database, application: str, session: int | None) -> dict[str, Any]:
    """The counts that a session saved last, to go on from; empty when there are none."""
    if session is None:
        return {}
    with database.connect(application, Role.LIVE) as connection, suppress(NoDataError):
        state = StateStore(connection).load_latest(snapshot_name(session))
        totals: dict[str, Any] = state["session"]["config"].get("totals", {})
        return totals
    return {}


def save_as_crashed(database: Database, application: str, session: int) -> None:
    """Add a last snapshot to a session that was found dead: what it saved last, as crashed."""
    with database.connect(application, Role.LIVE) as connection, suppress(NoDataError):
        store = StateStore(connection)
        state = store.load_latest(snapshot_name(session))
        state["session"]["status"] = "crashed"
        store.save(state, SnapshotType.ON_STOP)
