"""The paper desk beside a live session: it trades on the simulated exchange, settles, and is twin to its journal."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from desk_sessions import start_session
from live_desks import EAGER, assert_twin, eager, has_event, order, saved_events, saved_state
from live_markets import (
    PRICE,
    exchange_of,
    prices_each_half_second,
    read_table,
    running_markets,
    session_with_markets,
    wait_for_table,
)
from live_sessions import insert_half_an_hour_of_ticks, insert_tick, payload_has, running_in_thread
from stored_markets import market_event, store_markets
from waiting import avoid_hour_boundary, wait_until

from pipelines.domain.desk.amounts import rejections
from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeeTerms
from pipelines.live.desk import DeskPlan
from pipelines.storage.desk.store import save
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

Build = Callable[..., int]
ENTRIES = {"signal", "work", "buy"}


def stop_desk(database: Database, campaign: str) -> None:
    """Stop the desk, which makes it save."""
    order(database, campaign, stopped=True)
    wait_until(has_event(database, campaign, "stop"), "the switch")


def saved_rejections(database: Database, campaign: str) -> Counter[Rejection]:
    """How often markets were not traded, as saved: with each switch, and once a minute."""
    state = saved_state(database, campaign)
    return Counter() if state is None else rejections(state)


def test_a_recorded_session_replayed_gives_byte_equal_events_and_state(
    database: Database, build: Build, tmp_path: Path
) -> None:
    avoid_hour_boundary(120)
    build("TWIN", seed=1)
    with running_markets(database, tmp_path, "TWIN", desk=eager("demo-twin")):
        wait_until(has_event(database, "demo-twin", "buy"), "a fill")
        stop_desk(database, "demo-twin")
        order(database, "demo-twin", stopped=False)
        wait_until(has_event(database, "demo-twin", "start"), "the switch")
        assert payload_has(tmp_path, "TWIN", status="ok")()
    assert assert_twin(database, "demo-twin").inputs > 3
    events = saved_events(database, "demo-twin")
    kinds = [one.kind for one in events]
    assert kinds.index("signal") < kinds.index("work") < kinds.index("buy") < kinds.index("stop") < kinds.index("start")
    buy = events[kinds.index("buy")]
    assert buy.ticker is not None
    assert buy.ticker.startswith("KXTWIND-")
    assert (buy.at - events[kinds.index("signal")].at).total_seconds() >= float(EAGER.latency_seconds)
    with database.connect("test", Role.READER) as connection:
        shown = connection.execute(
            "SELECT DISTINCT mode, paper_campaign_id FROM live_data.session_snapshots WHERE session_id = 'desk:demo-twin'"
        ).fetchall()
    assert shown == [("paper", "demo-twin")]


def test_a_stopped_desk_enters_nothing_until_it_is_started(database: Database, build: Build, tmp_path: Path) -> None:
    avoid_hour_boundary(120)
    build("STOP", seed=1)
    order(database, "demo-stop", stopped=True)
    with running_markets(database, tmp_path, "STOP", desk=eager("demo-stop")):
        wait_until(has_event(database, "demo-stop", "stop"), "the switch")
        order(database, "demo-stop", stopped=False)
        wait_until(has_event(database, "demo-stop", "signal"), "a trade")
    kinds = [one.kind for one in saved_events(database, "demo-stop")]
    assert kinds.index("stop") < kinds.index("start") < kinds.index("signal")
    assert_twin(database, "demo-stop")


def test_quotes_that_vanish_are_not_traded_on(database: Database, build: Build, tmp_path: Path) -> None:
    avoid_hour_boundary(120)
    build("VANISH", seed=1)
    with running_markets(database, tmp_path, "VANISH", desk=eager("demo-vanish")) as exchange:
        wait_until(has_event(database, "demo-vanish", "signal"), "a trade")
        exchange.stop()
        table = wait_for_table(tmp_path, "VANISH", "unavailable: ")
        vanished_at = datetime.fromisoformat(table["last_updated"])
        stop_desk(database, "demo-vanish")
        wait_until(lambda: saved_rejections(database, "demo-vanish")[Rejection.BOARD], "a board without quotes")
        after = [one.kind for one in saved_events(database, "demo-vanish") if one.at > vanished_at]
        assert ENTRIES.isdisjoint(after), after
    assert_twin(database, "demo-vanish")


def test_nothing_is_entered_without_a_probability(database: Database, tmp_path: Path) -> None:
    with running_markets(database, tmp_path, "UNKNOWN", desk=eager("demo-unknown")):
        stop_desk(database, "demo-unknown")
        order(database, "demo-unknown", stopped=False)
        wait_until(lambda: saved_rejections(database, "demo-unknown").total() >= 21, "a board")
    assert {one.kind for one in saved_events(database, "demo-unknown")} <= {"capital", "stop", "start"}


def test_a_session_that_refreshes_once_does_not_trade(database: Database, tmp_path: Path) -> None:
    insert_half_an_hour_of_ticks(database, "ONCE", PRICE)
    insert_tick(database, "ONCE", PRICE)
    with exchange_of("ONCE") as exchange:
        session_with_markets(database, tmp_path, exchange, desk=eager("demo-once")).run(once=True)
    assert read_table(tmp_path, "ONCE") is not None
    assert saved_state(database, "demo-once") is None


def test_a_desk_that_cannot_save_delays_nothing_and_goes_on_from_what_it_saved(
    database: Database, build: Build, tmp_path: Path
) -> None:
    avoid_hour_boundary(120)
    build("LOCKED", seed=1)
    logged: list[str] = []
    with exchange_of("LOCKED") as exchange, prices_each_half_second(database, "LOCKED"):
        live = session_with_markets(database, tmp_path, exchange, desk=eager("demo-locked"), log=logged.append)
        with running_in_thread(live) as raised:
            wait_until(has_event(database, "demo-locked", "signal"), "a trade")
            with database.connect("test", None) as blocker:
                blocker.execute("LOCK TABLE live_data.desk_inputs IN ACCESS EXCLUSIVE MODE")
                order(database, "demo-locked", stopped=True)  # has to be saved
                wait_until(lambda: any("the paper desk: " in line for line in logged), "the failure")
                wait_until(payload_has(tmp_path, "LOCKED", status="ok"), "fresh probabilities")
                assert wait_for_table(tmp_path, "LOCKED", "open")["strikes"][0]["yes_ask"] is not None
            wait_until(lambda: "the paper desk: works again" in logged, "the recovery")
            wait_until(has_event(database, "demo-locked", "stop"), "the switch")
        assert raised, "it was cancelled"
    assert_twin(database, "demo-locked")


def a_position(market: Market, at: datetime) -> list[DeskInput]:
    """Boards by which 10 contracts of YES are bought at 40 cents, from `at` on."""

    def board(seconds: int) -> BoardInput:
        now, bid, ask = at + timedelta(seconds=seconds), Decimal("0.38"), Decimal("0.40")
        size = Decimal(10)
        quotes = (Quote(bid, size), Quote(ask, size), Quote(1 - ask, size), Quote(1 - bid, size))
        quoted = MarketInput(market.ticker, MarketStatus.ACTIVE, now, *quotes, Decimal("0.6"), independent=99)
        return BoardInput(
            now, "SETTLE", market.series_ticker, market.event_ticker, market.closes_at, FeeTerms(), (quoted,)
        )

    return [board(0), board(2)]


def test_a_position_of_an_earlier_session_is_settled_and_revised_by_the_markets_result(
    database: Database, build: Build, tmp_path: Path
) -> None:
    avoid_hour_boundary(120)
    build("SETTLE", seed=1)
    closed_at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    [market] = market_event(closed_at, Decimal(100), Decimal(101), series="KXSETTLED", offsets=(0,))
    with database.connect("test", None) as connection:
        store_markets(connection, [market], [], symbol="SETTLE", exchange="simulated")
    opened = DeskState.opened("demo-settle", EAGER, closed_at - timedelta(minutes=30))
    inputs = a_position(market, opened.at)

    async def save_position(session: int) -> None:
        target = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(target, autocommit=True) as connection:
            await save(connection, session, opened, inputs, apply_all(opened, inputs), SnapshotType.ON_TRADE)

    asyncio.run(save_position(start_session(database)))
    [trade] = opened.trades()
    assert (trade.stage, trade.held) == (Stage.WORKING, 10), "the rest of the order waits"

    with running_markets(database, tmp_path, "SETTLE", desk=eager("demo-settle")):
        wait_until(has_event(database, "demo-settle", "settle"), "the settlement")
    state = saved_state(database, "demo-settle")
    assert state is not None
    settled = state.ended[trade.number]
    assert (settled.stage, settled.result, settled.paid_usd) == (Stage.SETTLED, MarketResult.YES, 10)
    assert settled.gain_usd == 10 - 4 - settled.fees_usd

    with database.connect("test", None) as connection:
        connection.execute("UPDATE market_data.market SET result = 'no' WHERE ticker = %s", [market.ticker])
    plan = DeskPlan("demo-settle", replace(EAGER, positions_per_event=2))
    with running_markets(database, tmp_path, "SETTLE", desk=plan):
        wait_until(has_event(database, "demo-settle", "revise"), "the revision")
        wait_until(has_event(database, "demo-settle", "rules"), "the rules of the settings")
    state = saved_state(database, "demo-settle")
    assert state is not None
    revised = state.ended[trade.number]
    assert (revised.stage, revised.result, revised.paid_usd) == (Stage.SETTLED, MarketResult.NO, 0)
    assert revised.gain_usd == -4 - settled.fees_usd
    assert state.rules == plan.rules
    assert state.book.imbalance_usd == 0
