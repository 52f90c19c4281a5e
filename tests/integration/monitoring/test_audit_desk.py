"""The audit measures the paper desk."""

import asyncio
from datetime import UTC, datetime, timedelta

from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import save_in_steps, start_session

from pipelines.domain.desk.state import DeskState
from pipelines.storage.monitoring.measurements import measure_desk
from pipelines.storage.postgres.connection import Database, Role


def measured(database: Database, now: datetime) -> dict[str, float]:
    with database.connect("test", Role.AUDITOR) as connection:
        found = measure_desk(connection, now)
    assert found.gaps == []
    assert {one.labels.get("campaign") for one in found.items} <= {"audited"}
    return {one.name: one.value for one in found.items}


def test_stranded_trades_and_broken_events_are_counted(database: Database) -> None:
    now = datetime.now(UTC)
    assert measured(database, now) == {}
    state = DeskState.opened("audited", EAGER, BEGAN)
    asyncio.run(save_in_steps(database, start_session(database), state, random_inputs(2, 300), 100))
    held = list(state.trades())
    assert held
    in_time = measured(database, held[0].closes_at + timedelta(minutes=59))
    assert (in_time["desk_trades"], in_time["desk_stranded_trades"]) == (state.next_number - 1, 0)
    late = measured(database, now + timedelta(minutes=5))
    assert (late["desk_stranded_trades"], late["desk_unbalanced_events"]) == (len(held), 0)
    assert 290 < late["desk_save_age"] < 900
    with database.connect("test", Role.OWNER) as owner:
        owner.execute(
            "UPDATE live_data.desk_ledger SET amount_usd = amount_usd + 0.0001 WHERE event = 0 AND account = 'cash'"
        )
        owner.execute("UPDATE live_data.session_snapshots SET status = 'stopped'")
    broken = measured(database, now)
    assert broken["desk_unbalanced_events"] == 1
    assert "desk_save_age" not in broken
