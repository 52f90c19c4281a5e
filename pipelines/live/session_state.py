"""What a live session saves of itself, in the shape of the state store."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from pipelines.errors import NoDataError
from pipelines.storage.live.state_store import StateStore
from pipelines.storage.postgres.connection import Database, Role


def snapshot_name(session: int) -> str:
    """The name under which a live session's snapshots are kept."""
    return f"live-{session}"


def live_state(
    session: int,
    started_at: datetime,
    config: Mapping[str, Any],
    totals: Mapping[str, float] | None,
    loop_count: int,
    status: str,
) -> dict[str, Any]:
    """A live session's state: it has no positions.

    `totals`: counts on top of those of the sessions before it, None while those are not known.
    """
    return {
        "session": {
            "session_id": snapshot_name(session),
            "session_start_time": started_at,
            "mode": "live",
            "paper_campaign_id": None,
            "config": {**config, "totals": None if totals is None else dict(totals)},
            "loop_count": loop_count,
            "status": status,
        },
        "positions": {"active_orders": {}},
        "metrics": None,
        "risk_guard": None,
    }


def crashed_state(database: Database, application: str, session: int) -> dict[str, Any] | None:
    """What a session that was found dead saved last, as crashed; None when it saved nothing."""
    with database.connect(application, Role.LIVE) as connection, suppress(NoDataError):
        state = StateStore(connection).load_latest(snapshot_name(session))
        state["session"]["status"] = "crashed"
        return state
    return None
