"""Retention and backups keep a paper account: its cash, positions, trades and ledger."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backups import UNSIGNED, now
from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import TABLES, dump_tables, save_in_steps, start_session

from pipelines.domain.desk.state import DeskState
from pipelines.errors import NoDataError
from pipelines.maintenance.backup import create_backup
from pipelines.maintenance.restore import restore
from pipelines.maintenance.retention import run
from pipelines.settings import Settings, load_settings
from pipelines.storage.desk import reads
from pipelines.storage.desk.store import read_state
from pipelines.storage.desk.switch import read_switch, set_switch
from pipelines.storage.maintenance.restored_databases import drop_database
from pipelines.storage.postgres.connection import Database, Role

TODAY = datetime.now(UTC)
INPUTS = random_inputs(4, 400)


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", str(database.parameters["dbname"]))
    return load_settings()


def saved_desk(database: Database, campaign: str) -> DeskState:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    asyncio.run(save_in_steps(database, start_session(database), state, INPUTS[:300], 50))
    assert state.active
    return state


def age_snapshots(database: Database, campaign: str, days: int) -> None:
    """As if the newest snapshot had been saved so long ago, and each one before it a day earlier."""
    with database.connect("test", Role.OWNER) as owner:
        owner.execute(
            "UPDATE live_data.session_snapshots AS snapshot SET created_at = %(newest)s - ranked.rank * interval '1 day'"
            " FROM (SELECT snapshot_id, rank() OVER (ORDER BY snapshot_id DESC) - 1 AS rank FROM live_data.session_snapshots"
            " WHERE session_id = %(session)s) AS ranked WHERE ranked.snapshot_id = snapshot.snapshot_id",
            {"newest": TODAY - timedelta(days=days), "session": f"desk:{campaign}"},
        )
        owner.execute(
            "UPDATE live_data.desk_inputs SET newest_at = %s - (300 - last_input) * interval '1 hour' WHERE campaign = %s",
            [TODAY - timedelta(days=days), campaign],
        )


@pytest.mark.parametrize("days", [1, 6, 40, 400])
def test_a_silent_desk_keeps_its_cash_and_positions(database: Database, settings: Settings, days: int) -> None:
    campaign = f"silent for {days} days"
    state = saved_desk(database, campaign)
    with database.connect("test", Role.READER) as connection:
        before = dump_tables(connection, campaign)
    age_snapshots(database, campaign, days)
    for _ in range(2):
        run(settings, database, TODAY)
    with database.connect("test", Role.READER, autocommit=True) as connection:
        assert read_state(connection, campaign) == state
        after = dump_tables(connection, campaign)
        assert after["snapshots"] == [(1 if days > 30 else 6,)]
        for table in ("desk_event", "desk_ledger", "desk_trade"):
            assert after[table] == before[table]
        assert len(after["desk_inputs"]) == {1: 3, 6: 1}.get(days, 0)
        [found] = [one for one in reads.read_campaigns(connection) if one.campaign == campaign]
        assert found.status == "running"
        if days > 30:
            with pytest.raises(NoDataError):
                reads.read_state_before(connection, campaign, 299)
    asyncio.run(save_in_steps(database, start_session(database), state, INPUTS[300:], 50))
    with database.connect("test", Role.READER) as connection:
        assert read_state(connection, campaign) == state
        assert reads.read_balances(connection, campaign) == state.book.balances


def test_a_restored_database_has_the_desk_and_goes_on(database: Database, tmp_path: Path) -> None:
    state = saved_desk(database, "backed up")
    with database.connect("test", Role.PIPELINE) as connection:
        set_switch(connection, "backed up", True, "a test", "tests")
        before = dump_tables(connection, "backed up")
    made = create_backup(database, tmp_path)
    assert {f"live_data.{table}" for table in (*TABLES, "desk_switch")} <= {one.table for one in made.manifest.tables}
    name = f"{database.parameters['dbname']}_copy"
    copy = Database(database.url_for(name))
    try:
        assert restore(database, made, name, now(), trust=UNSIGNED).differences == ()
        with copy.connect("test", Role.READER) as connection:
            assert dump_tables(connection, "backed up") == before
            assert read_state(connection, "backed up") == state
            switch = read_switch(connection, "backed up")
            assert switch is not None
            assert switch.stopped
        asyncio.run(save_in_steps(copy, start_session(copy), state, INPUTS[300:], 50))
        with copy.connect("test", Role.READER) as connection:
            assert read_state(connection, "backed up") == state
    finally:
        drop_database(database, name)
