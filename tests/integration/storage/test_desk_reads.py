"""What people and the live session read of the desk: trades, events, equity, the switch, results."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import save_in_steps, start_session

from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.state import DeskState
from pipelines.domain.markets.contracts import MarketResult
from pipelines.errors import StateError
from pipelines.storage.desk import reads
from pipelines.storage.desk.results import read_results_async
from pipelines.storage.desk.rows import TradeRow
from pipelines.storage.desk.switch import read_switch, read_switch_async, set_switch
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role

INPUTS = random_inputs(2, 500)
TABLES = ("desk_inputs", "desk_event", "desk_ledger", "desk_trade", "desk_switch", "desk_balance")


@pytest.fixture(scope="module")
def desk(database: Database) -> DeskState:
    """The saved desk of the campaign `paper`, beside another one."""
    session = start_session(database)
    for campaign in ("other", "paper"):
        state = DeskState.opened(campaign, EAGER, BEGAN)
        asyncio.run(save_in_steps(database, session, state, INPUTS, 50))
    return state


@pytest.fixture
def reader(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def events() -> list[DeskEvent]:
    return apply_all(DeskState.opened("paper", EAGER, BEGAN), INPUTS)


def test_trades_are_read_newest_first_with_exact_sums(desk: DeskState, reader: Connection) -> None:
    trades = desk.active | desk.ended
    found = reads.read_trades(reader, "paper", limit=10_000)
    assert [one.trade for one in found] == [*range(desk.next_number - 1, 0, -1)]
    assert [one for one in found if one.trade in trades] == [
        TradeRow.of(trades[number]) for number in sorted(trades, reverse=True)
    ]
    assert reads.read_trades(reader, "paper", limit=3) == found[:3]
    since = found[10].signalled_at
    later = reads.read_trades(reader, "paper", limit=10_000, since=since)
    assert later == [one for one in found if one.signalled_at >= since]
    assert len(later) < len(found)


def test_gains_in_sql_add_up_to_that_of_the_book(desk: DeskState, reader: Connection) -> None:
    [(gain, fees)] = reader.execute(
        "SELECT sum(gain_usd), sum(fees_usd) FROM live_data.desk_trade WHERE campaign = 'paper'"
    )
    assert gain == desk.book.gain_usd
    assert fees == reads.read_balances(reader, "paper")["fees"]


def test_events_are_read_newest_first(events: list[DeskEvent], reader: Connection, desk: DeskState) -> None:
    found = reads.read_events(reader, desk.campaign, limit=10_000)
    assert [one.event for one in found] == [*range(len(events), -1, -1)]
    assert (found[-1].kind, found[-1].at) == ("capital", BEGAN)
    for row, event in zip(reversed(found[:-1]), events, strict=True):
        assert (
            row.at,
            row.kind,
            row.reason,
            row.trade,
            row.ticker,
            row.side,
            row.price,
            row.contracts,
            row.fee_usd,
        ) == (
            event.at,
            event.kind,
            event.reason,
            event.trade,
            event.ticker,
            event.side,
            event.price,
            event.contracts,
            event.fee_usd,
        )
    assert reads.read_events(reader, desk.campaign, limit=2) == found[:2]


def test_the_equity_is_read_from_each_snapshot(desk: DeskState, reader: Connection) -> None:
    now = datetime.now(UTC)
    points = reads.read_equity(reader, "paper", now - timedelta(days=1))
    assert len(points) == len(INPUTS) // 50
    at, equity, gain, drawdown = points[-1]
    assert at <= now
    assert (equity, gain, drawdown) == (
        float(desk.equity_usd),
        float(desk.book.gain_usd),
        float(desk.max_drawdown_usd),
    )
    assert reads.read_equity(reader, "paper", now + timedelta(days=1)) == []


def test_campaigns_are_read_by_name_with_their_newest_snapshot(desk: DeskState, reader: Connection) -> None:
    other, paper = reads.read_campaigns(reader)
    assert (other.campaign, paper.campaign) == ("other", "paper")
    assert (paper.started_at, paper.inputs, paper.active) == (BEGAN, len(INPUTS), len(desk.active))
    assert (paper.capital_usd, paper.equity_usd) == (10_000.0, float(desk.equity_usd))
    assert (paper.status, paper.stopped) == ("running", desk.stopped)


async def connect_live(database: Database) -> AsyncConnection:
    return await AsyncConnection.connect(database.conninfo("test", Role.LIVE), autocommit=True)


def test_the_newest_order_to_a_campaign_applies(database: Database, reader: Connection) -> None:
    assert read_switch(reader, "switched") is None
    with database.connect("test", Role.PIPELINE, autocommit=True) as pipeline:
        set_switch(pipeline, "another", True, "not this one", "tests")
        first = set_switch(pipeline, "switched", True, "a holiday", "tests")
        assert read_switch(reader, "switched") == first
        second = set_switch(pipeline, "switched", False, "it is over", "tests")
    assert (second.stopped, second.reason, second.by) == (False, "it is over", "tests")
    assert first.at < second.at <= datetime.now(UTC) + timedelta(minutes=1)

    async def read() -> object:
        async with await connect_live(database) as connection:
            return await read_switch_async(connection, "switched")

    assert asyncio.run(read()) == read_switch(reader, "switched") == second


@pytest.mark.parametrize("given", [{"reason": " "}, {"campaign": ""}, {"by": ""}, {"reason": "a\x00b"}], ids=str)
def test_an_order_without_a_reason_is_refused(pipeline: Connection, given: dict[str, str]) -> None:
    texts = {"campaign": "paper", "reason": "a test", "by": "tests"} | given
    with pytest.raises(StateError, match="expected text"):
        set_switch(pipeline, stopped=True, **texts)


def test_only_final_results_are_read(database: Database) -> None:
    markets = [
        ("T1", "finalized", "yes", None),
        ("T2", "finalized", "scalar", Decimal("0.3750")),
        ("T3", "determined", "no", None),
        ("T4", "closed", None, None),
        ("T5", "finalized", "void", None),
        ("T6", "finalized", "no", None),
    ]
    with database.connect("test", Role.PIPELINE) as connection:
        for ticker, status, result, value in markets:
            connection.execute(
                "INSERT INTO market_data.market (exchange, ticker, event_ticker, series_ticker, symbol, settlement,"
                " strike_type, floor_strike, opens_at, closes_at, price_ranges, status, result, settlement_value)"
                " VALUES ('kalshi', %s, 'E', 'S', 'BTC', 'mean_60s', 'greater', 1, '2026-07-22T17:00Z',"
                " '2026-07-22T18:00Z', '[]', %s, %s, %s)",
                [ticker, status, result, value],
            )

    async def read(exchange: str) -> object:
        async with await connect_live(database) as connection:
            return await read_results_async(connection, exchange, ["T5", "T4", "T3", "T2", "T1", "T0"])

    assert asyncio.run(read("kalshi")) == [
        ("T1", MarketResult.YES, None),
        ("T2", MarketResult.SCALAR, Decimal("0.3750")),
        ("T5", MarketResult.VOID, None),
    ]
    assert asyncio.run(read("simulated")) == []


DENIED = [
    *((Role.LIVE, f"DELETE FROM live_data.{table}") for table in TABLES[:-1]),
    *((Role.LIVE, f"UPDATE live_data.{table} SET campaign = 'x'") for table in TABLES[:3]),
    (
        Role.LIVE,
        "INSERT INTO live_data.desk_switch (campaign, stopped, reason, switched_by) VALUES ('x', true, 'x', 'x')",
    ),
    *((Role.PIPELINE, f"INSERT INTO live_data.{table} (campaign) VALUES ('x')") for table in TABLES[:4]),
    *((Role.PIPELINE, f"DELETE FROM live_data.{table}") for table in TABLES[:-1]),
    (Role.PIPELINE, "UPDATE live_data.desk_switch SET stopped = false"),
    (Role.PIPELINE, "INSERT INTO live_data.desk_switch (campaign, switched_at) VALUES ('x', now())"),
    (Role.PIPELINE, "SELECT live_data.lock_desk(1, 'paper', 0)"),
    (
        Role.READER,
        "INSERT INTO live_data.desk_switch (campaign, stopped, reason, switched_by) VALUES ('x', true, 'x', 'x')",
    ),
    *((role, f"SELECT * FROM live_data.{table}") for role in (Role.PRODUCER,) for table in TABLES),
]


@pytest.mark.parametrize(("role", "statement"), DENIED)
def test_a_role_is_denied(database: Database, role: Role, statement: str) -> None:
    with database.connect("test", None) as connection:
        connection.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
        connection.rollback()


@pytest.mark.parametrize("role", [Role.LIVE, Role.PIPELINE, Role.READER, Role.AUDITOR, Role.BACKUP])
def test_a_role_may_read(database: Database, role: Role) -> None:
    with database.connect("test", role) as connection:
        for table in TABLES:
            connection.execute(f"SELECT count(*) FROM live_data.{table}")
