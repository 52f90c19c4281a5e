"""The basis from stored reference values and prices: bounded reads, replayed prices, rights and retention."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pipelines.domain.markets.basis import Basis, BasisChoice, BasisSource, NoBasis
from pipelines.storage.live.basis import read_bases, read_bases_async
from pipelines.storage.live.day_partitions import create_day_partitions, upcoming_days
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

#: Half a minute after an hour in the past, so that no value is ahead of the server's clock.
NOW = datetime.now(UTC).replace(minute=0, second=30, microsecond=0) - timedelta(hours=1)
CLOSE = NOW.replace(second=0)
HOUR = timedelta(hours=1)
SYMBOLS = ["BTC", "ETH"]


@pytest.fixture(autouse=True)
def _empty(database: Database) -> Iterator[None]:
    with database.connect("test", None, autocommit=True) as connection:
        days = [*upcoming_days(NOW), *((NOW - timedelta(days=age)).date() for age in (1, 2))]
        create_day_partitions(connection, days)
        yield
        connection.execute("TRUNCATE live_data.reference_value, live_data.price_log")


def produce(database: Database, statement: str, *parameters: object) -> None:
    with psycopg.connect(database.conninfo("test", Role.PRODUCER)) as connection:
        connection.execute(statement, parameters)


def prices_each_second(database: Database, symbol: str, until: datetime, seconds: int, source: str = "feed") -> None:
    """Our prices up to `until`, half a second before each second: 100,000 + 10 a second."""
    produce(
        database,
        "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
        "SELECT %s, %s - n * interval '1 second' - interval '500 ms', 100000 + 10 * (%s - n), %s "
        "FROM generate_series(0, %s) AS n ON CONFLICT DO NOTHING",
        symbol,
        until,
        seconds,
        source,
        seconds - 1,
    )


def index_each_second(database: Database, symbol: str, until: datetime, seconds: int, bps: float) -> None:
    """Index values up to `until`, at a basis from `prices_each_second`."""
    produce(
        database,
        "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
        "SELECT %s, 'index', %s - n * interval '1 second', (100000 + 10 * (%s - n)) * exp(%s / 1e4), 'test' "
        "FROM generate_series(0, %s) AS n",
        symbol,
        until,
        seconds,
        bps,
        seconds - 1,
    )


def settle(database: Database, symbol: str, close: datetime, bps: float, seconds: int = 70) -> None:
    """A settled value at a basis from the mean of the last minute of `prices_each_second`."""
    prices_each_second(database, symbol, close, seconds)
    mean = sum(100_000 + 10 * (seconds - n) for n in range(60)) / 60
    produce(
        database,
        "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
        "VALUES (%s, 'settled', %s, %s * exp(%s / 1e4), 'test')",
        symbol,
        close,
        mean,
        bps,
    )


def bases(database: Database, now: datetime = NOW, **options: object) -> dict[str, BasisChoice]:
    with database.connect("test", Role.LIVE) as connection:
        return read_bases(connection, SYMBOLS, now, **{"replayed": False, **options})  # type: ignore[arg-type]


def test_the_index_is_paired_with_our_last_price_before_it(database: Database) -> None:
    prices_each_second(database, "BTC", NOW, 300)
    index_each_second(database, "BTC", NOW, 300, 2.5)
    found = bases(database)
    assert found["BTC"].basis == Basis(pytest.approx(2.5), BasisSource.INDEX, NOW)  # type: ignore[arg-type]
    assert found["ETH"].basis is None
    assert found["ETH"].reasons == (
        "index: no value in the last 15 minutes",
        "settled: no value in the last 24 hours",
    )


def test_an_index_without_recent_prices_of_ours_gives_way_to_settled_values(database: Database) -> None:
    settle(database, "BTC", CLOSE - HOUR, 1.0)
    settle(database, "BTC", CLOSE - 2 * HOUR, 4.0)
    index_each_second(database, "BTC", NOW, 300, 2.5)
    found = bases(database)["BTC"]
    assert found.basis == Basis(pytest.approx(2.0), BasisSource.SETTLED, CLOSE - HOUR)  # type: ignore[arg-type]
    assert found.reasons == ("index: 0 values with a price of ours in the newest minute, expected 3 or more",)


def test_a_minute_that_our_prices_do_not_cover_gives_no_settled_basis(database: Database) -> None:
    settle(database, "BTC", CLOSE, 1.0, seconds=30)
    assert bases(database)["BTC"].reasons[1] == "settled: 1 settled values, none of a minute that our prices cover"


def test_values_after_the_instant_are_not_read(database: Database) -> None:
    settle(database, "BTC", CLOSE - HOUR, 1.0)
    settle(database, "BTC", CLOSE, 9.0)
    index_each_second(database, "BTC", NOW, 60, 9.0)
    found = bases(database, CLOSE - timedelta(minutes=5))["BTC"]
    assert found.basis == Basis(pytest.approx(1.0), BasisSource.SETTLED, CLOSE - HOUR)  # type: ignore[arg-type]


def test_quotes_come_before_settled_values(database: Database) -> None:
    settle(database, "BTC", CLOSE, 1.0)
    quoted = Basis(3.0, BasisSource.QUOTES, NOW - timedelta(minutes=5))
    assert bases(database, quoted={"BTC": quoted})["BTC"].basis == quoted
    refused = NoBasis(BasisSource.QUOTES, "7 quotes, expected 100 or more")
    found = bases(database, quoted={"BTC": refused})["BTC"]
    assert found.basis is not None
    assert found.basis.source is BasisSource.SETTLED
    assert found.reasons[1] == "quotes: 7 quotes, expected 100 or more"


def test_replayed_prices_have_no_basis(database: Database) -> None:
    prices_each_second(database, "BTC", NOW, 300, source="replay")
    index_each_second(database, "BTC", NOW, 300, 2.5)
    replayed = bases(database, replayed=True)
    assert {symbol: choice.basis for symbol, choice in replayed.items()} == {"BTC": None, "ETH": None}
    assert replayed["BTC"].reasons == ("replayed prices are not the market's now",)
    assert bases(database)["BTC"].basis is None  # replayed prices pair with nothing


def test_the_asynchronous_read_gives_the_same(database: Database) -> None:
    prices_each_second(database, "BTC", NOW, 300)
    index_each_second(database, "BTC", NOW, 300, 2.5)
    settle(database, "ETH", CLOSE, -1.0)

    async def read(*, replayed: bool) -> dict[str, BasisChoice]:
        conninfo = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(conninfo) as connection:
            return await read_bases_async(connection, SYMBOLS, NOW, replayed=replayed)

    assert asyncio.run(read(replayed=False)) == bases(database)
    assert asyncio.run(read(replayed=True)) == bases(database, replayed=True)


def test_many_values_and_prices_are_read_within_bounds(database: Database) -> None:
    """Of twenty prices a second and settled values of every minute, the newest 15 minutes and 24 closes are read."""
    produce(
        database,
        "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
        "SELECT 'BTC', %s - n * interval '50 ms', 100000 + n %% 7, 'feed' FROM generate_series(1, 3600 * 20) AS n",
        CLOSE,
    )
    for kind, every, count in (("index", "1 second", 3600), ("settled", "1 minute", 300)):
        produce(
            database,
            "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
            "SELECT 'BTC', %s, %s - n * %s::interval, 100010 + n %% 3, 'test' FROM generate_series(0, %s) AS n",
            kind,
            CLOSE,
            every,
            count - 1,
        )
    with database.connect("test", Role.LIVE) as connection:
        rows: list[int] = []
        execute = connection.execute

        def counted(*arguments: object) -> psycopg.Cursor[tuple[object, ...]]:
            cursor = execute(*arguments)  # type: ignore[call-overload]
            rows.append(cursor.rowcount)
            return cursor  # type: ignore[no-any-return]

        connection.execute = counted  # type: ignore[method-assign, assignment]
        found = read_bases(connection, ["BTC"], CLOSE, replayed=False)
    assert rows == [900, 24]
    assert found["BTC"].basis is not None


@pytest.mark.parametrize("value", ["'NaN'", "0", "-1", "'Infinity'", "1e10"])
def test_an_absurd_value_is_refused(database: Database, value: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        produce(
            database,
            "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
            f"VALUES ('BTC', 'index', now(), {value}, 'test')",
        )


@pytest.mark.parametrize(("kind", "ahead"), [("index", "5 minutes"), ("settled", "1 hour"), ("other", "0 seconds")])
def test_a_value_of_the_future_or_of_another_kind_is_refused(database: Database, kind: str, ahead: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        produce(
            database,
            "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
            "VALUES ('BTC', %s, now() + %s::interval, 1, 'test')",
            kind,
            ahead,
        )


def test_the_first_value_of_a_second_stays(database: Database) -> None:
    for value in (1, 2):
        produce(
            database,
            "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
            "VALUES ('BTC', 'index', %s, %s, 'test') ON CONFLICT DO NOTHING",
            NOW,
            value,
        )
    with database.connect("test", Role.READER) as connection:
        assert connection.execute("SELECT value FROM live_data.reference_value").fetchall() == [(1.0,)]
