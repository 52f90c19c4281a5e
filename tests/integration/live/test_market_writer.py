"""Markets and quotes of the live session in the database: on change, and at the end of each minute."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_listings import listing, market

from pipelines.domain.markets.contracts import Market, MarketStatus
from pipelines.domain.markets.listings import Listing
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.markets.quotes import MINUTE_END, MarketWriter
from pipelines.storage.postgres.connection import AsyncConnection, Database, OperationalError, Role

NOW = datetime.now(UTC).replace(second=10, microsecond=400_000)
SECOND = timedelta(seconds=1)
_numbers = count()


@pytest.fixture
def one(database: Database) -> Iterator[Market]:
    """A market of its own for each test, whose quotes are removed."""
    described = market(event=f"KXBTCD-WRITER{next(_numbers)}")
    yield described
    with database.connect("test", None) as connection:
        connection.execute("DELETE FROM market_data.market_quote")


def with_writer(database: Database, work: Callable[[MarketWriter], Awaitable[None]]) -> None:
    """Run a coroutine with a writer, on a connection like a session's."""

    async def run() -> None:
        async with await AsyncConnection.connect(database.conninfo("test", Role.LIVE), autocommit=True) as connection:
            await connection.execute("SELECT set_config('lock_timeout', '200ms', false)")
            await work(MarketWriter(connection, "kalshi"))

    asyncio.run(run())


def add(writer: MarketWriter, *listings: Listing) -> None:
    writer.add_markets("BTC", SettlementRule.MEAN_60S, listings)


def quotes(database: Database, one: Market) -> list[tuple[Any, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(
            "SELECT quoted_at, yes_bid, no_bid, yes_bid_size, volume FROM market_data.quote WHERE ticker = %s"
            " ORDER BY quoted_at",
            [one.ticker],
        ).fetchall()


def test_a_quote_is_stored_exactly_with_its_market(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        quoted = listing(one, bids=("0.0013", None), volume="12.25")
        writer.add_quotes(NOW, [quoted])
        add(writer, quoted)
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert quotes(database, one) == [(NOW, Decimal("0.0013"), None, Decimal(10), Decimal("12.25"))]


def test_an_unchanged_quote_is_stored_at_the_end_of_each_minute(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        for second in range(130):
            writer.add_quotes(NOW + second * SECOND, [listing(one)])
        await writer.flush()

    with_writer(database, work)
    assert [f"{row[0]:%S.%f}"[:4] for row in quotes(database, one)] == ["10.4", "58.4", "58.4"]


def test_changes_do_not_move_the_end_of_the_minute(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        for second in range(50):
            writer.add_quotes(NOW + second * SECOND, [listing(one, volume="13" if second >= 40 else "12")])
        await writer.flush()

    with_writer(database, work)
    assert [(row[0] - NOW).total_seconds() for row in quotes(database, one)] == [0, 40, 48]


def test_a_market_that_is_polled_once_a_minute_is_stored_each_time(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        for minute in range(4):
            writer.add_quotes(NOW + minute * 60 * SECOND, [listing(one)])
        await writer.flush()

    with_writer(database, work)
    assert len(quotes(database, one)) == 4


def test_quotes_that_fall_off_the_queue_are_counted(
    database: Database, one: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.storage.markets.quotes.MAX_QUEUED_QUOTES", 3)

    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        with database.connect("test", None) as connection:
            connection.execute("LOCK TABLE market_data.market_quote")
            for volume in range(4):
                writer.add_quotes(NOW + volume * SECOND, [listing(one, volume=str(volume))])
            await writer.flush()
            [problem] = writer.problems
            assert problem.startswith("3 quotes wait to be stored, 1 older ones were dropped: ")
            writer.add_quotes(NOW + 9 * SECOND, [listing(one, volume="9")])
            await writer.flush()
            [problem] = writer.problems
            assert problem.startswith("3 quotes wait to be stored, 2 older ones were dropped: ")
            connection.rollback()
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert [row[4] for row in quotes(database, one)] == [2, 3, 9]


def test_a_change_of_price_size_or_volume_is_stored(database: Database, one: Market) -> None:
    first = listing(one)
    assert first.quotes.yes_bid is not None
    bigger = replace(first.quotes, yes_bid=replace(first.quotes.yes_bid, contracts=Decimal(11)))
    given = [
        first,
        first,
        listing(one, bids=("0.41", "0.58")),
        listing(one, bids=("0.41", None)),
        listing(one, bids=(None, None)),
        first,
        replace(first, quotes=bigger),
        listing(one, volume="13"),
    ]

    async def work(writer: MarketWriter) -> None:
        add(writer, first)
        for second, one_listing in enumerate(given):
            writer.add_quotes(NOW + second * SECOND, [one_listing])
        await writer.flush()

    with_writer(database, work)
    assert [(row[0] - NOW).total_seconds() for row in quotes(database, one)] == [0, 2, 3, 4, 5, 6, 7]


def test_only_markets_that_have_changed_are_written(database: Database, one: Market) -> None:
    def change() -> Any:
        with database.connect("test", Role.READER) as connection:
            return connection.execute(
                "SELECT xmin::text, status FROM market_data.market WHERE ticker = %s", [one.ticker]
            ).fetchone()

    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        await writer.flush()
        first = change()
        add(writer, listing(one, bids=("0.50", "0.40")))
        await writer.flush()
        assert change() == first
        # Described twice within a batch: the later description counts.
        add(writer, listing(replace(one, status=MarketStatus.INACTIVE)))
        add(writer, listing(replace(one, status=MarketStatus.CLOSED)))
        await writer.flush()
        assert writer.problems == []
        assert change()[1] == "closed"

    with_writer(database, work)


def test_quotes_of_a_market_that_was_not_added_are_refused_alone(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        writer.add_quotes(NOW, [listing(market(event="KXBTCD-NEVERADDED")), listing(one)])
        await writer.flush()
        [problem] = writer.problems
        assert problem.startswith("the database refused 1 quotes")

    with_writer(database, work)
    assert len(quotes(database, one)) == 1


def test_a_day_without_a_partition_gets_one(database: Database, one: Market) -> None:
    later = NOW + timedelta(days=300)

    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        writer.add_quotes(later, [listing(one)])
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert [row[0] for row in quotes(database, one)] == [later]


def test_quotes_wait_while_the_table_is_locked(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        with database.connect("test", None) as connection:
            connection.execute("LOCK TABLE market_data.market_quote")
            writer.add_quotes(NOW, [listing(one)])
            await writer.flush()
            [problem] = writer.problems
            assert problem.startswith("1 quotes wait to be stored")
            connection.rollback()
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert len(quotes(database, one)) == 1


def test_quotes_wait_for_their_markets_while_those_cannot_be_written(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        with database.connect("test", None) as connection:
            connection.execute("LOCK TABLE market_data.market")
            add(writer, listing(one))
            writer.add_quotes(NOW, [listing(one)])
            await writer.flush()
            [problem] = writer.problems
            assert problem.startswith("1 markets wait to be stored")
            connection.rollback()
        await writer.flush()
        assert writer.problems == []

    with_writer(database, work)
    assert len(quotes(database, one)) == 1


def test_a_writer_that_has_lost_its_connection_ends(database: Database, one: Market) -> None:
    async def work(writer: MarketWriter) -> None:
        running = asyncio.create_task(writer.run())
        add(writer, listing(one))
        async with asyncio.timeout(20):
            while True:
                with database.connect("test", Role.READER) as connection:
                    if connection.execute(
                        "SELECT 1 FROM market_data.market WHERE ticker = %s", [one.ticker]
                    ).fetchone():
                        break
                await asyncio.sleep(0.02)
            with database.connect("test", None) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", [writer.connection.info.backend_pid])
            writer.add_quotes(NOW, [listing(one)])
            with pytest.raises(OperationalError):
                await running

    with_writer(database, work)
    assert quotes(database, one) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(1, 90), st.just(48)), st.sampled_from(["0.40", "0.41", None])), max_size=30
    )
)
def test_at_each_instant_the_newest_stored_quote_is_the_current_one(
    database: Database, steps: list[tuple[int, str | None]]
) -> None:
    one = market(event=f"KXBTCD-PROPERTY{next(_numbers)}")
    seen: list[tuple[datetime, str | None]] = []

    async def work(writer: MarketWriter) -> None:
        add(writer, listing(one))
        at = NOW
        for seconds, bid in steps:
            at += seconds * SECOND
            seen.append((at, bid))
            writer.add_quotes(at, [listing(one, bids=(bid, "0.50"))])
        await writer.flush()

    with_writer(database, work)
    stored = quotes(database, one)
    for at, bid in seen:
        newest = [row for row in stored if row[0] <= at][-1]
        assert newest[1] == (None if bid is None else Decimal(bid))
        end = (at + MINUTE_END).replace(second=0, microsecond=0)
        if at >= end - MINUTE_END and at < end:
            assert end - newest[0] <= MINUTE_END
