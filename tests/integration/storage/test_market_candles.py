"""Minute candles of markets: stored once, corrected, and derived from quotes."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import polars as pl
import psycopg
import pytest
from market_listings import CLOSES_AT, listing, market

from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.markets.candles import (
    CANDLE_SCHEMA,
    MAX_STANDING,
    PRICES,
    CandleCounts,
    derive_candles,
    store_candles,
)
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.markets.quotes import QUOTE_SCHEMA, QuoteCounts, store_quotes
from pipelines.storage.postgres.connection import Connection, Database, Role

MINUTE = timedelta(minutes=1)
OPENS_AT = CLOSES_AT - timedelta(hours=1)
_numbers = count()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.PIPELINE) as connected:
        create_day_partitions(connected, [CLOSES_AT.date()], ["market_quote"])
        yield connected
        connected.rollback()


@pytest.fixture
def market_id(connection: Connection) -> int:
    """A market that nothing is stored of."""
    one = market(event=f"KXBTCD-CANDLES{next(_numbers)}")
    record = MarketRecord("BTC", SettlementRule.MEAN_60S, listing(one))
    return upsert_markets(connection, "kalshi", [record]).ids[one.ticker]


def candles(market_id: int, minutes: range, bid: str = "0.40", ask: str | None = "0.42") -> pl.DataFrame:
    values = {name: Decimal(bid) if "bid" in name else None if ask is None else Decimal(ask) for name in PRICES}
    rows = [{"market_id": market_id, "ends_at": OPENS_AT + at * MINUTE, **values} for at in minutes]
    return pl.DataFrame([{**row, "volume": Decimal(5), "open_interest": Decimal(7)} for row in rows], CANDLE_SCHEMA)


def quotes(market_id: int, *rows: tuple[float, str | None, str | None]) -> pl.DataFrame:
    """Quotes: seconds after the opening, bids for YES and NO."""
    return pl.DataFrame(
        [
            {
                "market_id": market_id,
                "quoted_at": OPENS_AT + timedelta(seconds=at),
                "yes_bid": None if yes is None else Decimal(yes),
                "no_bid": None if no is None else Decimal(no),
                "volume": Decimal(int(at)),
            }
            for at, yes, no in rows
        ],
        {name: kind for name, kind in QUOTE_SCHEMA.items() if not name.endswith("size")},
    ).with_columns(
        pl.lit(None, QUOTE_SCHEMA["yes_bid_size"]).alias("yes_bid_size"),
        pl.lit(None, QUOTE_SCHEMA["no_bid_size"]).alias("no_bid_size"),
    )


def stored(connection: Connection, market_id: int) -> list[tuple[Any, ...]]:
    """Minute after the opening, bid and ask (open, high, low, close), volume, whether derived."""
    return connection.execute(
        "SELECT (extract(epoch FROM ends_at - %s) / 60)::int,"
        " concat_ws(' ', coalesce(yes_bid_open::float8::text, '-'), coalesce(yes_bid_high::float8::text, '-'),"
        "  coalesce(yes_bid_low::float8::text, '-'), coalesce(yes_bid_close::float8::text, '-')),"
        " concat_ws(' ', coalesce(yes_ask_open::float8::text, '-'), coalesce(yes_ask_high::float8::text, '-'),"
        "  coalesce(yes_ask_low::float8::text, '-'), coalesce(yes_ask_close::float8::text, '-')),"
        " volume::int, is_derived FROM market_data.market_candle WHERE market_id = %s ORDER BY 1",
        [OPENS_AT, market_id],
    ).fetchall()


def test_the_same_candles_twice_change_nothing(connection: Connection, market_id: int) -> None:
    given = candles(market_id, range(1, 4))
    assert store_candles(connection, given) == CandleCounts(inserted=3)
    versions = "SELECT xmin::text, ctid::text FROM market_data.market_candle WHERE market_id = %s ORDER BY ends_at"
    before = connection.execute(versions, [market_id]).fetchall()
    assert store_candles(connection, given) == CandleCounts(unchanged=3)
    assert connection.execute(versions, [market_id]).fetchall() == before


def test_corrected_candles_replace_the_stored_ones(connection: Connection, market_id: int) -> None:
    store_candles(connection, candles(market_id, range(1, 4)))
    corrected = pl.concat([candles(market_id, range(2, 3), ask=None), candles(market_id, range(3, 5))])
    assert store_candles(connection, corrected) == CandleCounts(inserted=1, corrected=1, unchanged=1)
    assert [row[2] for row in stored(connection, market_id)] == [
        "0.42 0.42 0.42 0.42",
        "- - - -",
        *["0.42 0.42 0.42 0.42"] * 2,
    ]


@pytest.mark.parametrize(("bid", "seconds"), [("0", 0), ("1", 0), ("0.40", 30)])
def test_impossible_candles_are_refused(connection: Connection, market_id: int, bid: str, seconds: int) -> None:
    given = candles(market_id, range(1, 2), bid=bid).with_columns(pl.col("ends_at") + pl.duration(seconds=seconds))
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        store_candles(connection, given)


def test_a_minute_opens_with_the_quote_that_stands_at_its_start(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58"), (70, "0.45", "0.50"), (100, "0.43", "0.55")))
    assert derive_candles(connection, OPENS_AT, CLOSES_AT) == 2
    assert stored(connection, market_id) == [
        (1, "0.4 0.4 0.4 0.4", "0.42 0.42 0.42 0.42", None, True),
        (2, "0.4 0.45 0.4 0.43", "0.42 0.5 0.42 0.45", 90, True),
    ]


def test_a_quote_at_the_end_of_a_minute_belongs_to_it(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (30, "0.40", "0.58"), (60, "0.41", "0.58"), (120, "0.44", "0.50")))
    derive_candles(connection, OPENS_AT, CLOSES_AT)
    assert [row[:2] for row in stored(connection, market_id)] == [(1, "0.4 0.41 0.4 0.41"), (2, "0.41 0.44 0.41 0.44")]


def test_a_side_without_orders_for_a_while_has_no_low_bid_or_high_ask(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58"), (20, None, None), (30, "0.41", "0.58")))
    derive_candles(connection, OPENS_AT, CLOSES_AT)
    assert [row[1:3] for row in stored(connection, market_id)] == [("0.4 0.41 - 0.41", "0.42 - 0.42 0.42")]


def test_a_quote_before_a_gap_stands_until_the_end_of_its_minute(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58"), (190, "0.45", "0.50"), (240, "0.46", "0.50")))
    derive_candles(connection, OPENS_AT, CLOSES_AT)
    assert [row[:2] for row in stored(connection, market_id)] == [(1, "0.4 0.4 0.4 0.4"), (4, "0.45 0.46 0.45 0.46")]


def test_no_candle_ends_after_the_close(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (3590, "0.40", "0.58"), (3600, "0.41", "0.58"), (3660, "0.42", "0.57")))
    derive_candles(connection, OPENS_AT, CLOSES_AT + timedelta(hours=1))
    assert [row[:2] for row in stored(connection, market_id)] == [(60, "0.4 0.4 0.4 0.4")]


def test_the_candles_of_the_exchange_are_not_replaced_by_derived_ones(connection: Connection, market_id: int) -> None:
    store_candles(connection, candles(market_id, range(1, 2), bid="0.30"))
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58"), (70, "0.41", "0.58")))
    assert derive_candles(connection, OPENS_AT, CLOSES_AT) == 1
    assert [(row[1], row[4]) for row in stored(connection, market_id)] == [
        ("0.3 0.3 0.3 0.3", False),
        ("0.4 0.41 0.4 0.41", True),
    ]
    assert store_candles(connection, candles(market_id, range(2, 3), bid="0.35")) == CandleCounts(corrected=1)
    assert [(row[1], row[4]) for row in stored(connection, market_id)][1] == ("0.35 0.35 0.35 0.35", False)
    assert derive_candles(connection, OPENS_AT, CLOSES_AT) == 0


def test_derived_candles_follow_later_quotes(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58")))
    derive_candles(connection, OPENS_AT, CLOSES_AT)
    store_quotes(connection, quotes(market_id, (20, "0.45", "0.50")))
    assert derive_candles(connection, OPENS_AT, CLOSES_AT) == 1
    assert derive_candles(connection, OPENS_AT, CLOSES_AT) == 0
    assert [row[1] for row in stored(connection, market_id)] == ["0.4 0.45 0.4 0.45"]


def test_only_minutes_that_end_in_the_range_are_derived(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, *((at, "0.40", "0.58") for at in range(10, 300, 60))))
    assert derive_candles(connection, OPENS_AT + 2 * MINUTE, OPENS_AT + 4 * MINUTE) == 2
    assert [row[0] for row in stored(connection, market_id)] == [3, 4]


def closing_quotes(connection: Connection, market_id: int) -> list[float | None]:
    """Seconds after the opening of the quotes that the candles end with."""
    rows = connection.execute(
        "SELECT extract(epoch FROM quoted_at - %s)::float8 FROM market_data.market_candle WHERE market_id = %s"
        " ORDER BY ends_at",
        [OPENS_AT, market_id],
    ).fetchall()
    return [row[0] for row in rows]


def test_a_derived_candle_keeps_the_time_of_its_closing_quote(connection: Connection, market_id: int) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58"), (58.5, "0.45", "0.50"), (130, "0.43", "0.55")))
    derive_candles(connection, OPENS_AT, CLOSES_AT)
    assert closing_quotes(connection, market_id) == [58.5, 58.5, 130]
    store_candles(connection, candles(market_id, range(3, 4)))
    assert closing_quotes(connection, market_id) == [58.5, 58.5, None]


def test_a_margin_keeps_candles_whose_first_quotes_are_gone(database: Database) -> None:
    one = market(event=f"KXBTCD-CANDLES{next(_numbers)}")
    with database.connect("test", None) as owner:
        create_day_partitions(owner, [CLOSES_AT.date()], ["market_quote"])
        record = MarketRecord("BTC", SettlementRule.MEAN_60S, listing(one))
        market_id = upsert_markets(owner, "kalshi", [record]).ids[one.ticker]
        store_quotes(owner, quotes(market_id, *((at, f"0.{at}", "0.20") for at in (10, 30, 50, 70))))
        derive_candles(owner, OPENS_AT, CLOSES_AT)
        before = stored(owner, market_id)
        assert before[1] == (2, "0.5 0.7 0.5 0.7", "0.8 0.8 0.8 0.8", 20, True)
        owner.execute(
            "DELETE FROM market_data.market_quote WHERE market_id = %s AND quoted_at < %s",
            [market_id, OPENS_AT + MINUTE],
        )
        assert derive_candles(owner, OPENS_AT + MINUTE, CLOSES_AT, margin=MAX_STANDING) == 0
        assert stored(owner, market_id) == before
        # Without it the minute opens with its first quote; its volume stays.
        assert derive_candles(owner, OPENS_AT + MINUTE, CLOSES_AT) == 1
        assert stored(owner, market_id)[1] == (2, "0.7 0.7 0.7 0.7", "0.8 0.8 0.8 0.8", 20, True)
        assert derive_candles(owner, OPENS_AT + MINUTE, CLOSES_AT) == 0
        owner.rollback()


@pytest.mark.parametrize("other", [{"exchange": "simulated"}, {"symbol": "ETH"}])
def test_candles_of_other_markets_are_not_derived(
    connection: Connection, market_id: int, other: dict[str, str]
) -> None:
    store_quotes(connection, quotes(market_id, (10, "0.40", "0.58")))
    selected = {"exchange": "kalshi", "symbol": "BTC"}
    assert derive_candles(connection, OPENS_AT, CLOSES_AT, **{**selected, **other}) == 0
    assert derive_candles(connection, OPENS_AT, CLOSES_AT, **selected) == 1


def test_quotes_are_stored_once_and_those_that_contradict_are_counted(connection: Connection, market_id: int) -> None:
    given = quotes(market_id, (10, "0.40", "0.58"), (70, "0.41", None))
    assert store_quotes(connection, given) == QuoteCounts(inserted=2)
    other = quotes(market_id, (10, "0.40", "0.58"), (70, "0.42", None), (71, "0.42", None))
    assert store_quotes(connection, other) == QuoteCounts(inserted=1, unchanged=1, contradicting=1)
    rows = connection.execute(
        "SELECT yes_bid FROM market_data.market_quote WHERE market_id = %s ORDER BY quoted_at", [market_id]
    ).fetchall()
    assert rows == [(Decimal("0.40"),), (Decimal("0.41"),), (Decimal("0.42"),)]
