"""A series' strike table in a session: the answers at its own strikes and close, its basis, its last file."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from refreshers import CLOSE, PRICE, ROWS, RULE, refresher, tick_each_second
from strike_tables import board, prices, quoted, written
from waiting import TIMEOUT_SECONDS

from pipelines.domain.markets.basis import Basis, BasisChoice, BasisSource
from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.settlement import Settlement, SettlementRule
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderQuery
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.ticks import minutes_of
from pipelines.live import markets
from pipelines.live.markets import LiveMarkets, MarketPlan
from pipelines.live.strike_tables import StrikeTable

MEAN = Settlement(SettlementRule.MEAN_60S)


class Files:
    """Keeps the last table instead of writing it."""

    folder = Path("output")

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.written: list[tuple[str, float]] = []

    def replace(self, path: Path, payload: dict[str, Any]) -> None:
        self.tables[path.name] = written(payload)
        self.written.append(("table", payload["current_price"]))

    def write(self, symbol: str, payload: dict[str, Any]) -> None:
        del symbol
        self.written.append(("probabilities", payload["current_price"]))


def market(strike: str, now: datetime, closes_at: datetime = CLOSE, **changes: Any) -> QuotedMarket:
    made = quoted(
        strike,
        open_time=(closes_at - timedelta(hours=1)).isoformat(),
        close_time=closes_at.isoformat(),
        **changes,
    )
    return replace(made, received_at=now - timedelta(milliseconds=200))


def event(now: datetime, *markets: QuotedMarket, closes_at: datetime = CLOSE) -> EventBoard:
    del now
    return board(*markets, closes_at=closes_at)


def table_of(of: EventBoard, *, is_first: bool = True) -> StrikeTable:
    asked = refresher(SettlementRule.LAST_PRICE)
    asked.files = cast(Any, Files())
    tick_each_second(asked, 7_200, 7_199, PRICE)
    return StrikeTable(asked, of, is_first)


def refreshed(table: StrikeTable, now: datetime) -> dict[str, Any]:
    asyncio.run(table.refresh(cast(Any, None), now))
    return cast(Files, table.refresher.files).tables[table.path.name]


def at_or_above(strikes: list[float], ttc: float, settlement: Settlement = MEAN) -> Floats:
    query = LadderQuery(
        RULE, RULE.axes, MarketStates.single(minutes_of(CLOSE), 0.0), PRICE, np.empty(0), ttc, settlement=settlement
    )
    return query.at_or_above(query.lookup_reader(ROWS), np.array(strikes))


def chances(table: dict[str, Any]) -> dict[float, float]:
    return {one["strike"]: one["yes_probability"] for one in table["strikes"]}


def test_each_type_of_market_is_answered_at_its_own_strikes() -> None:
    now = CLOSE - timedelta(minutes=20)
    of = event(
        now,
        market("100099.99", now),
        market("100250", now, strike_type="between", cap_strike=100_349.99, ticker="KXBTC-26MAR2106-B100300"),
        market("1", now, strike_type="less", floor_strike=None, cap_strike=99_900, ticker="KXBTC-26MAR2106-T99900"),
    )
    high, low, top, bottom = at_or_above([100_100.0, 100_250.0, 100_350.0, 99_900.0], 1200)
    expected = {100_100: high, 100_250: low - top, 99_900: 1 - bottom}
    found = chances(refreshed(table_of(of), now))
    assert found == {strike: round(100 * chance, 2) for strike, chance in expected.items()}


def test_the_close_is_that_of_the_event_and_not_the_hour() -> None:
    quarter = CLOSE - timedelta(minutes=15)
    now = quarter - timedelta(minutes=5)
    of = event(now, market("100050", now, quarter, strike_type="greater_or_equal"), closes_at=quarter)
    found = refreshed(table_of(of), now)
    assert (found["ttc"], found["market_close"][11:16]) == (300, "13:45")
    assert chances(found) == {100_050: round(100 * at_or_above([100_050.0], 300)[0], 2)}


def test_the_basis_moves_the_strikes() -> None:
    now = CLOSE - timedelta(minutes=20)
    table = table_of(event(now, market("100099.99", now)))
    table.refresher.basis = BasisChoice(Basis(5.0, BasisSource.INDEX, now))
    found = refreshed(table, now)
    expected = at_or_above([100_100.0], 1200, Settlement(SettlementRule.MEAN_60S, None, 5.0))
    assert (found["basis_bps"], chances(found)) == (5.0, {100_100: round(100 * expected[0], 2)})


def test_an_event_of_tomorrow_is_shown_without_probabilities() -> None:
    now, tomorrow = CLOSE - timedelta(minutes=20), CLOSE + timedelta(hours=24)
    found = refreshed(table_of(event(now, market("100099.99", now, tomorrow), closes_at=tomorrow)), now)
    [one] = found["strikes"]
    assert (one["probability"], one["yes_ask"], found["market_status"]) == (None, 21, "open")
    assert found["reasons"] == ["the event closes in 24.3 hours: answers reach one hour ahead"]


def test_without_markets_the_ladder_is_answered_until_the_hour() -> None:
    now = CLOSE - timedelta(minutes=20)
    of = replace(event(now), event_ticker=None, closes_at=None, failure="events of KXBTCD: timed out")
    found = refreshed(table_of(of), now)
    assert found["market_status"] == "unavailable: events of KXBTCD: timed out"
    assert chances(found)[100_010] == round(100 * at_or_above([100_010.0], 1200)[0], 2)
    assert len(found["strikes"]) == 21


def test_a_symbol_s_further_series_has_its_own_file() -> None:
    now = CLOSE - timedelta(minutes=20)
    of = event(now, market("100099.99", now))
    assert table_of(of).path.name == "btc_strike_table.json"
    further = replace(of, series_ticker="KXBTC15M")
    assert table_of(further, is_first=False).path.name == "btc_kxbtc15m_strike_table.json"


def test_a_table_is_due_after_the_probability_file_of_each_new_price_and_with_new_quotes() -> None:
    now = CLOSE - timedelta(minutes=20)
    table = table_of(event(now, market("100099.99", now)))
    due = []

    def answer(at: datetime) -> None:
        table.wake.clear()
        asyncio.run(table.refresher.refresh(cast(Any, None), at))
        due.append(table.wake.is_set())

    answer(now)
    answer(now + timedelta(milliseconds=650))
    tick_each_second(table.refresher, 1_199, 1_199, PRICE)
    answer(now + timedelta(seconds=1))
    assert due == [True, False, True]
    table.wake.clear()
    table.use_board(table.board)
    assert table.wake.is_set()


def test_a_price_and_quotes_that_arrive_together_give_one_refresh_after_the_probability_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(markets, "GATHERING_SECONDS", 0.5)  # so that a busy machine does not come between
    asked = refresher(SettlementRule.LAST_PRICE)
    files = Files()
    asked.files = cast(Any, files)
    tick_each_second(asked, 1_200, 1_200, PRICE)
    now = datetime.now(UTC)
    plan = MarketPlan(MarketSource.KALSHI, {"BTC": ["KXBTCD"]}, lambda: "", cast(Any, None))
    live = LiveMarkets(plan, {"BTC": asked}, print)
    [table] = live.tables.values()

    async def run() -> None:
        refreshing = asyncio.create_task(live._table(table, cast(Any, None))())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not files.written:
                await asyncio.sleep(0.001)
            table.use_board(event(now, market("100099.99", now, now + timedelta(minutes=5))))
            await asyncio.sleep(0.001)
            tick_each_second(asked, 1_199, 1_199, PRICE + 1)
            await asked.refresh(cast(Any, None), CLOSE - timedelta(seconds=1_199))
            while len(files.written) < 3:
                await asyncio.sleep(0.001)
        refreshing.cancel()

    asyncio.run(run())
    assert files.written == [("table", PRICE), ("probabilities", PRICE + 1), ("table", PRICE + 1)]
    assert not table.wake.is_set()


def test_many_prices_do_not_refresh_a_table_each_and_quotes_do_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markets, "PRICE_SECONDS", 10 * TIMEOUT_SECONDS)
    table = table_of(event(CLOSE, market("100099.99", CLOSE)))

    async def run() -> None:
        waiting = asyncio.create_task(markets._wait_for_news(table, time.perf_counter()))
        for _ in range(5):
            table.wake.set()  # a price
            await asyncio.wait([waiting], timeout=2 * markets.GATHERING_SECONDS)
        assert not waiting.done()
        table.use_board(table.board)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await waiting

    asyncio.run(run())


def test_nothing_is_written_before_the_first_price() -> None:
    now = CLOSE - timedelta(minutes=20)
    asked = refresher()
    asked.files = cast(Any, Files())
    table = StrikeTable(asked, event(now, market("100099.99", now)), True)
    asyncio.run(table.refresh(cast(Any, None), now))
    assert not cast(Files, table.refresher.files).tables


def test_the_last_file_shows_no_quotes() -> None:
    now = CLOSE - timedelta(minutes=20)
    table = table_of(event(now, market("100099.99", now)))
    before = refreshed(table, now)
    table.write_final(now + timedelta(milliseconds=100), "the live session ended: stopped by SIGTERM")
    after = cast(Files, table.refresher.files).tables[table.path.name]
    assert (before["strikes"][0]["yes_ask"], after["strikes"][0]["yes_ask"]) == (21, None)
    assert chances(after) == chances(before)
    assert after["status"] == "stale"


@pytest.mark.parametrize("true_bps", [-3.0, 2.0])
def test_the_quotes_of_each_minute_show_the_basis_whatever_the_current_one_is(true_bps: float) -> None:
    strikes = [99_900.0 + 20 * step for step in range(11)]
    table = table_of(event(CLOSE))
    table.refresher.basis = BasisChoice(Basis(1.0, BasisSource.SETTLED, CLOSE))
    settlement = Settlement(SettlementRule.MEAN_60S, None, true_bps)
    for minutes in range(40, 10, -1):
        now = CLOSE - timedelta(minutes=minutes)
        fair = at_or_above(strikes, 60 * minutes, settlement)
        table.use_board(
            event(
                now,
                *(
                    market(f"{strike - 0.01:.2f}", now, **prices(f"{chance - 0.005:.4f}", f"{chance + 0.005:.4f}"))
                    for strike, chance in zip(strikes, fair, strict=True)
                ),
            )
        )
        tick_each_second(table.refresher, 60 * minutes, 60 * minutes, PRICE + minutes % 2)
        table.refresher.ticks._prices_usd[-1] = PRICE
        refreshed(table, now)
        refreshed(table, now + timedelta(milliseconds=300))  # a minute counts once
    found = table.quoted_basis.estimate()
    assert isinstance(found, Basis)
    assert found.bps == pytest.approx(true_bps, abs=0.1)
    counted = table.quoted_basis.counted
    assert counted is not None
    assert counted.quotes == pytest.approx(30 * len(strikes), rel=0.05)


def test_an_event_that_has_closed_is_not_answered_with_the_next_hour() -> None:
    now = CLOSE + timedelta(minutes=5)
    table = table_of(replace(event(now, market("100099.99", now)), failure="the simulated exchange is not up"))
    found = refreshed(table, now)
    assert found["market_status"] == "unavailable: the simulated exchange is not up"
    assert (found["event_ticker"], {row["ticker"] for row in found["strikes"]}) == (None, {None})


def quoted_minute(table: StrikeTable, minutes: int, **changes: Any) -> None:
    now = CLOSE - timedelta(minutes=minutes)
    strikes = [99_900.0 + 20 * step for step in range(11)]
    fair = at_or_above(strikes, 60 * minutes)
    quotes = [
        market(f"{strike - 0.01:.2f}", now, **prices(f"{chance - 0.005:.4f}", f"{chance + 0.005:.4f}"))
        for strike, chance in zip(strikes, fair, strict=True)
    ]
    table.use_board(replace(event(now, *quotes), **changes))
    refreshed(table, now)


def test_quotes_beside_a_price_that_has_stopped_say_nothing_of_the_basis() -> None:
    table = table_of(event(CLOSE))
    tick_each_second(table.refresher, 1_800, 1_800, PRICE)
    quoted_minute(table, 30)
    counted = table.quoted_basis.counted
    quoted_minute(table, 29)  # no new price
    assert counted is not None
    assert table.quoted_basis.counted == counted


def test_a_clock_that_was_set_back_counts_no_minute_twice() -> None:
    table = table_of(event(CLOSE))
    for minutes in (30, 31):
        tick_each_second(table.refresher, 60 * minutes, 60 * minutes, PRICE)
        quoted_minute(table, minutes)
    counted = table.quoted_basis.counted
    assert counted is not None
    assert counted.at == CLOSE - timedelta(minutes=30)


def test_the_simulated_exchange_has_the_basis_of_its_own_quotes() -> None:
    now = CLOSE - timedelta(minutes=20)
    table = table_of(replace(event(now, market("100099.99", now)), source=MarketSource.SIMULATED))
    table.refresher.basis = BasisChoice(Basis(5.0, BasisSource.INDEX, now))
    found = refreshed(table, now)
    assert (found["basis"], found["simulated"]) == (None, True)
    assert "quotes: 0 quotes, expected 100 or more" in found["warnings"][0]
