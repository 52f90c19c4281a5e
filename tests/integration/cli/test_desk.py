"""`strikecast desk` as its user sees it: the account, positions, trades, the switch; and what the alerts are told."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import save_in_steps, start_session
from readers import command_line, reader_login
from system import System

from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.state import DeskState
from pipelines.domain.models.freshness import SessionState
from pipelines.monitoring.desk import read_desk
from pipelines.settings import load_settings
from pipelines.storage.desk.store import save
from pipelines.storage.desk.switch import read_switch
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

#: Inputs of a save: a trade that has ended is stored within the hour.
STEP = 20
LEADS = SessionState(True, 1, "running")


@pytest.fixture
def command(database: Database, tmp_path: Path) -> System:
    (tmp_path / "home").mkdir()
    return command_line(
        database, tmp_path / "home", STRIKECAST_MARKETS__SOURCE="kalshi", STRIKECAST_DESK__ENABLED="true"
    )


def saved(database: Database, campaign: str) -> DeskState:
    """A campaign of 600 random inputs: with active and ended trades, and limits that are exceeded."""
    state, inputs = DeskState.opened(campaign, EAGER, BEGAN), random_inputs(10, 600)

    async def write(session: int) -> None:
        target = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(target, autocommit=True) as connection:
            for start in range(0, len(inputs), STEP):
                given = inputs[start : start + STEP]
                await save(connection, session, state, given, apply_all(state, given), SnapshotType.PERIODIC)

    asyncio.run(write(start_session(database)))
    assert state.active
    assert state.breaches
    return state


def printed(command: System, *arguments: str) -> Any:
    completed = command.invoke("desk", *arguments, "--json")
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def test_a_desk_that_has_not_traded_yet_has_a_status_and_no_trades(command: System) -> None:
    facts = printed(command, "status", "--campaign", "new")
    assert (facts["campaign"], facts["account"], facts["saved_at"], facts["problems"]) == ("new", None, None, [])
    assert "it has not traded yet" in command.invoke("desk", "status", "--campaign", "new").stdout
    completed = command.invoke("desk", "positions", "--campaign", "new")
    assert completed.returncode == 1
    assert "campaign 'new' has not traded yet" in completed.stderr


def test_the_account_its_positions_and_its_trades_are_exact(database: Database, command: System) -> None:
    state = saved(database, "exact")
    facts = printed(command, "status", "--campaign", "exact")
    account = facts["account"]
    assert account["cash_usd"] == f"{state.book.cash_usd:f}"
    assert (account["won"], account["lost"], account["trades"]) == (
        sum(each.winning for each in state.totals.values()),
        sum(each.losing for each in state.totals.values()),
        state.next_number - 1,
    )
    assert account["rejections"]["BTC"] == {
        str(reason): count for reason, count in state.totals["BTC"].rejections.items()
    }
    assert (facts["simulated"], facts["enabled"]) == (False, True), "a session saves it, whatever these settings say"
    positions = printed(command, "positions", "--campaign", "exact")["trades"]
    assert [one["trade"] for one in positions] == [trade.number for trade in state.trades()]
    assert [one["gain_usd"] for one in positions] == [f"{trade.gain_usd:f}" for trade in state.trades()]
    newest = printed(command, "trades", "--campaign", "exact", "--limit", "3")["trades"]
    assert [one["trade"] for one in newest] == [state.next_number - 1 - place for place in range(3)]
    since = f"{state.at + timedelta(days=1):%Y-%m-%d}"
    assert printed(command, "trades", "--campaign", "exact", "--since", since)["trades"] == []
    shown = command.invoke("desk", "status", "--campaign", "exact").stdout
    assert "not entered because" in shown
    assert command.invoke("desk", "trades", "--campaign", "exact").stdout.count("KX") > 3


def test_stop_and_start_are_stored_and_shown_with_the_reason(database: Database, command: System) -> None:
    saved(database, "paper")
    stopped = printed(command, "stop", "--reason", "the model is rebuilt")
    assert (stopped["campaign"], stopped["stopped"], stopped["reason"]) == ("paper", True, "the model is rebuilt")
    facts = printed(command, "status")
    assert (facts["stopped"], facts["enabled"]) == ("the model is rebuilt", True)
    assert "the paper desk was stopped: the model is rebuilt" in facts["problems"]
    assert facts["trading"] is False
    assert facts["problems"][0].startswith("no live session is running"), "why it does not trade"
    assert "desk paper: may enter trades" in command.invoke("desk", "start").stdout
    assert printed(command, "status")["stopped"] is None
    refused = command.invoke("desk", "stop", "--reason", " ")
    assert (refused.returncode, "expected text" in refused.stderr) == (1, True)


def test_a_campaign_that_there_is_not_is_not_stopped(database: Database, command: System) -> None:
    saved(database, "other")
    refused = command.invoke("desk", "stop", "--campaign", "othr", "--reason", "an emergency")
    assert (refused.returncode, "there is no campaign 'othr' (known: " in refused.stderr) == (1, True)
    assert printed(command, "stop", "--campaign", "other", "--reason", "an emergency")["stopped"] is True
    with database.connect("test", Role.READER) as connection:
        assert read_switch(connection, "othr") is None


def test_the_loss_of_a_past_day_is_not_that_of_today(database: Database, command: System) -> None:
    state = DeskState.opened("past", EAGER, BEGAN)
    state.daily_gain_usd[BEGAN.date()] = Decimal(-90)
    asyncio.run(save_in_steps(database, start_session(database), state, random_inputs(7, STEP), STEP))
    assert state.loss_today_usd > 0
    assert printed(command, "status", "--campaign", "past")["account"]["loss_today_usd"] == "0"


def test_a_reader_sees_the_desk_and_cannot_stop_it(database: Database, tmp_path: Path) -> None:
    with reader_login(database) as login:
        (tmp_path / "reader").mkdir()
        command = command_line(login, tmp_path / "reader")
        assert printed(command, "status")["campaign"] == "paper"
        refused = command.invoke("desk", "stop", "--reason", "an exercise")
        assert refused.returncode == 1
        assert "strikecast_pipeline" in refused.stderr


def test_the_alerts_are_told_of_positions_past_their_close_and_of_saves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_MARKETS__SOURCE", "kalshi")
    monkeypatch.setenv("STRIKECAST_DESK__CAMPAIGN", "told")
    now = datetime.now(UTC)
    with database.connect("test", Role.READER) as connection:
        assert read_desk(load_settings(), connection, LEADS, BEGAN, {}) is None, "it never traded and is not to"
        monkeypatch.setenv("STRIKECAST_DESK__ENABLED", "true")
        never = read_desk(load_settings(), connection, LEADS, now, {})
        assert never is not None
        assert (never.is_due, never.saved_at) == (True, None)
    state = saved(database, "told")
    with database.connect("test", Role.READER) as connection:
        facts = read_desk(load_settings(), connection, SessionState(False, 1, "stopped"), now, {})
    assert facts is not None
    assert not facts.is_due
    assert facts.saved_at is not None
    assert facts.saved_at >= now - timedelta(minutes=1)
    own = [one for one in facts.stranded if "(campaign " not in one]
    assert own == [f"{trade.ticker} {trade.side}" for trade in state.trades()]
    assert facts.breaches == state.breaches


def test_the_alerts_are_told_of_positions_that_a_change_of_the_campaign_left_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, _ = saved(database, "left"), saved(database, "demo-left")
    monkeypatch.setenv("STRIKECAST_DESK__CAMPAIGN", "successor")
    with database.connect("test", Role.READER) as connection:
        facts = read_desk(load_settings(), connection, LEADS, datetime.now(UTC), {})
        early = read_desk(load_settings(), connection, LEADS, BEGAN, {})
    assert facts is not None
    listed = [f"{trade.ticker} {trade.side} (campaign left)" for trade in left.trades()]
    assert [one for one in facts.stranded if "left)" in one] == listed
    assert early is None
