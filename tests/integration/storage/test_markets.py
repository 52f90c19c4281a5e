"""Markets, their results and fees in the database."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from market_listings import CLOSES_AT, listing, market
from stored_markets import read_event, read_fees

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, PriceRange, StrikeType
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms, FeeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.markets.fees import store_fees
from pipelines.storage.markets.markets import (
    MarketRecord,
    read_markets,
    read_unsettled_async,
    summarize,
    upsert_markets,
)
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role

FINAL = {"status": MarketStatus.FINALIZED, "result": MarketResult.YES, "settlement_value": Decimal(1)}
_numbers = count()


@pytest.fixture
def event() -> str:
    """An event of its own for each test."""
    return f"KXBTCD-26JUL22{next(_numbers):02}"


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.LIVE) as connected:
        yield connected


def store(connection: Connection, *markets: Market, index: str | None = None) -> dict[str, int]:
    records = [MarketRecord("BTC", SettlementRule.MEAN_60S, listing(one, index=index)) for one in markets]
    return dict(upsert_markets(connection, "kalshi", records).ids)


def stored(connection: Connection, one: Market) -> Any:
    return read_markets(connection, "kalshi", [one.ticker])[one.ticker]


def revisions(connection: Connection, market_id: int) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT former_status, former_result, former_index_value, status, result, index_value"
        " FROM market_data.market_revision WHERE market_id = %s ORDER BY revised_at",
        [market_id],
    ).fetchall()


def test_markets_are_read_back_exactly(connection: Connection, event: str) -> None:
    ranges = (
        PriceRange(Decimal(0), Decimal("0.1"), Decimal("0.001")),
        PriceRange(Decimal("0.1"), Decimal(1), Decimal("0.01")),
    )
    above = market("118499.99", event, price_ranges=ranges)
    between = replace(
        market("118499.99", event),
        ticker=f"{event}-B1",
        strike_type=StrikeType.BETWEEN,
        cap_strike=Decimal("118599.995"),
    )
    below = replace(
        market("1", event),
        ticker=f"{event}-T1",
        strike_type=StrikeType.LESS,
        floor_strike=None,
        cap_strike=Decimal(61600),
    )
    ids = store(connection, above, between, below)
    found = read_event(connection, "kalshi", event)
    assert [one.market for one in found] == [below, between, above]
    assert {one.market.ticker: one.market_id for one in found} == ids
    assert {(one.symbol, one.settlement) for one in found} == {("BTC", SettlementRule.MEAN_60S)}
    assert read_event(connection, "simulated", event) == []


def test_only_changed_markets_are_written(connection: Connection, event: str) -> None:
    same, halted = market("118499.99", event), market("118749.99", event)
    ids = store(connection, same, halted)
    versions = "SELECT ticker, xmin::text, first_seen_at, changed_at FROM market_data.market WHERE event_ticker = %s"
    before = {row[0]: row[1:] for row in connection.execute(versions, [event]).fetchall()}
    connection.commit()
    assert store(connection, same, replace(halted, status=MarketStatus.INACTIVE)) == ids
    after = {row[0]: row[1:] for row in connection.execute(versions, [event]).fetchall()}
    assert after[same.ticker] == before[same.ticker]
    assert after[halted.ticker][0] != before[halted.ticker][0]
    assert after[halted.ticker][1] == before[halted.ticker][1]
    assert after[halted.ticker][2] > before[halted.ticker][2]


def test_a_close_that_the_exchange_moves_is_taken(connection: Connection, event: str) -> None:
    one = market(event=event)
    store(connection, one)
    early = replace(one, closes_at=CLOSES_AT - timedelta(minutes=10))
    store(connection, early)
    assert stored(connection, one).market == early


def test_a_final_result_is_not_replaced_by_an_earlier_message(connection: Connection, event: str) -> None:
    final = market(event=event, **FINAL)
    ids = store(connection, final, index="118512.34")
    for late in (
        market(event=event),
        market(event=event, status=MarketStatus.CLOSED),
        market(event=event, status=MarketStatus.DETERMINED, result=MarketResult.NO),
        market(event=event, status=MarketStatus.FINALIZED),
    ):
        store(connection, late)
        found = stored(connection, final)
        assert (found.market, found.index_value_usd) == (final, Decimal("118512.34"))
    assert revisions(connection, ids[final.ticker]) == []


@pytest.mark.parametrize("status", [MarketStatus.DISPUTED, MarketStatus.AMENDED, MarketStatus.FINALIZED])
def test_a_revised_result_is_stored_and_the_former_one_kept(
    connection: Connection, event: str, status: MarketStatus
) -> None:
    final = market(event=event, **FINAL)
    ids = store(connection, final, index="118512.34")
    revised = market(event=event, status=status, result=MarketResult.NO, settlement_value=Decimal(0))
    store(connection, revised, index="118498.10")
    assert stored(connection, final).market == revised
    former = ("finalized", "yes", Decimal("118512.34"))
    assert revisions(connection, ids[final.ticker]) == [(*former, str(status), "no", Decimal("118498.10"))]


def test_a_disputed_market_loses_its_result_and_the_former_one_is_kept(connection: Connection, event: str) -> None:
    final = market(event=event, **FINAL)
    ids = store(connection, final)
    store(connection, market(event=event, status=MarketStatus.DISPUTED))
    assert stored(connection, final).market.result is None
    assert revisions(connection, ids[final.ticker]) == [("finalized", "yes", None, "disputed", None, None)]


def test_a_result_becomes_known_step_by_step(connection: Connection, event: str) -> None:
    one = market(event=event)
    ids = store(connection, one)
    store(connection, replace(one, status=MarketStatus.CLOSED))
    store(connection, replace(one, status=MarketStatus.DETERMINED, result=MarketResult.YES))
    final = replace(one, **FINAL)
    store(connection, final)
    store(connection, final, index="118512.34")
    found = stored(connection, one)
    assert (found.market, found.index_value_usd) == (final, Decimal("118512.34"))
    assert revisions(connection, ids[one.ticker]) == []


def test_price_ranges_that_are_not_known_leave_the_known_ones(connection: Connection, event: str) -> None:
    one = market(event=event)
    store(connection, one)
    store(connection, replace(one, price_ranges=()))
    assert stored(connection, one).market == one


def test_markets_past_their_close_are_followed_until_final(database: Database, connection: Connection) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    old, closed, determined, final, open_ = (
        market(event=f"KXBTCD-UNSETTLED{at}", closes_at=now + timedelta(hours=hours))
        for at, hours in enumerate((-80, -3, -2, -1, 1))
    )
    determined = replace(determined, status=MarketStatus.DETERMINED, result=MarketResult.NO)
    store(connection, old, closed, determined, replace(final, **FINAL), open_)
    connection.commit()

    async def read() -> list[str]:
        async with await AsyncConnection.connect(database.conninfo("test", Role.LIVE)) as reading:
            found = await read_unsettled_async(reading, "kalshi", now - timedelta(days=3), now)
            return [one.market.ticker for one in found]

    assert asyncio.run(read()) == [closed.ticker, determined.ticker]


def test_series_are_summarized(connection: Connection) -> None:
    store(connection, market("1.99", "KXSUM-26JUL2214"), market("2.99", "KXSUM-26JUL2214"))
    [found] = [one for one in summarize(connection, "BTC") if one.series == "KXSUM"]
    assert (found.events, found.markets, found.quotes, found.candles, found.first_at) == (1, 2, 0, 0, None)
    assert summarize(connection, "ETH") == []


NOW = datetime(2026, 7, 22, 12, tzinfo=UTC)
USUAL = FeeTerms()
DOUBLE = FeeTerms(FeeType.QUADRATIC_WITH_MAKER_FEES, Decimal(2))
WAIVED = FeeTerms(multiplier=Decimal(0))


def schedule(*periods: FeePeriod) -> FeeSchedule:
    return FeeSchedule(tuple(periods))


def test_fee_terms_are_read_back_with_announced_changes(pipeline: Connection) -> None:
    change = FeePeriod(DOUBLE, NOW + timedelta(days=3), NOW + timedelta(days=5))
    given = schedule(FeePeriod(USUAL), change)
    for _ in range(2):
        store_fees(pipeline, "kalshi", "KXFEE", given, NOW)
    assert read_fees(pipeline, "kalshi", "KXFEE") == given
    assert read_fees(pipeline, "simulated", "KXFEE") == schedule()


def test_terms_that_change_without_announcement_apply_from_when_they_are_seen(pipeline: Connection) -> None:
    store_fees(pipeline, "kalshi", "KXSEEN", schedule(FeePeriod(USUAL)), NOW)
    for hours in (1, 2):
        later = NOW + timedelta(hours=hours)
        store_fees(pipeline, "kalshi", "KXSEEN", schedule(FeePeriod(DOUBLE)), later)
    found = read_fees(pipeline, "kalshi", "KXSEEN")
    assert found == schedule(FeePeriod(USUAL), FeePeriod(DOUBLE, NOW + timedelta(hours=1)))


def test_an_announced_change_that_has_come_is_not_stored_again(pipeline: Connection) -> None:
    change = FeePeriod(DOUBLE, NOW + timedelta(days=1))
    store_fees(pipeline, "kalshi", "KXCOME", schedule(FeePeriod(USUAL), change), NOW)
    store_fees(pipeline, "kalshi", "KXCOME", schedule(FeePeriod(DOUBLE)), NOW + timedelta(days=2))
    assert read_fees(pipeline, "kalshi", "KXCOME") == schedule(FeePeriod(USUAL), change)


def test_the_terms_of_an_event_come_after_those_of_its_series(pipeline: Connection) -> None:
    store_fees(pipeline, "kalshi", "KXOWN", schedule(FeePeriod(USUAL)), NOW)
    store_fees(pipeline, "kalshi", "KXOWN", schedule(FeePeriod(WAIVED)), NOW, "KXOWN-26JUL2214")
    assert read_fees(pipeline, "kalshi", "KXOWN").terms_at(NOW) == USUAL
    assert read_fees(pipeline, "kalshi", "KXOWN", "KXOWN-26JUL2214").terms_at(NOW) == WAIVED
    assert read_fees(pipeline, "kalshi", "KXOWN", "KXOWN-26JUL2215").terms_at(NOW) == USUAL
