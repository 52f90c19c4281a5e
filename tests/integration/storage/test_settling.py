"""Closing prices of live answers by their settlement rule, and the outcomes of their strikes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
import pytest
from past_answers import store_answer, store_ticks

from pipelines.storage.evaluation.scores import settle_answers
from pipelines.storage.postgres.connection import Database, Role

AT = datetime(2026, 3, 10, 11, 50, tzinfo=UTC)
CLOSE = datetime(2026, 3, 10, 12, tzinfo=UTC)
#: One tick in each second of the last minute.
MINUTE = range(1, 61)
_numbers = count()


@pytest.fixture
def symbol() -> str:
    """A symbol of its own for each test."""
    return f"S{next(_numbers)}"


@pytest.fixture
def settle(database: Database, symbol: str) -> Callable[..., int]:
    def call(now: datetime = CLOSE + timedelta(minutes=1)) -> int:
        with database.connect("test", Role.PIPELINE) as connection:
            return settle_answers(connection, symbol, now)

    return call


def closing_price(database: Database, symbol: str) -> float | None:
    with database.connect("test", Role.READER) as connection:
        row = connection.execute("SELECT closing_price FROM live_data.answer WHERE symbol = %s", [symbol]).fetchone()
    assert row is not None
    return None if row[0] is None else float(row[0])


def outcomes(database: Database, symbol: str) -> list[tuple[object, ...]]:
    """Price, strike and happened of each stored strike."""
    with database.connect("test", Role.READER) as connection:
        return connection.execute(
            "SELECT price, strike, happened FROM live_data.answer_strike WHERE symbol = %s ORDER BY price, strike",
            [symbol],
        ).fetchall()


@pytest.mark.parametrize(("settlement", "expected"), [("mean_60s", 118506.0 + 2 / 3), ("last_price", 118490.0)])
def test_an_answer_is_settled_by_its_own_rule(
    database: Database, symbol: str, settle: Callable[..., int], settlement: str, expected: float
) -> None:
    """The last price alone would say that the market closed below its strike."""
    store_ticks(database, symbol, CLOSE, [(second, 118510.0 if second > 10 else 118490.0) for second in MINUTE])
    store_answer(database, AT, symbol=symbol, price=118400, strikes=[118500], prob_beyond=[40], settlement=settlement)
    assert settle() == 1
    assert closing_price(database, symbol) == pytest.approx(expected, abs=1e-6)
    assert outcomes(database, symbol) == [(118400, 118500, settlement == "mean_60s")]
    assert settle() == 0, "settled once"


@pytest.mark.parametrize(
    "ticks",
    [
        pytest.param([], id="no ticks"),
        pytest.param([(80, 2000.0)], id="the last tick is older than the minute"),
        pytest.param([(second, 2000.0) for second in MINUTE if second > 20], id="the stream stops within the minute"),
        pytest.param([(second, 2000.0) for second in MINUTE if second < 45], id="the stream starts within the minute"),
        pytest.param([(-second, 2000.0) for second in range(60)], id="ticks from the close on"),
    ],
)
def test_without_its_last_minute_an_answer_stays_unsettled(
    database: Database, symbol: str, settle: Callable[..., int], ticks: list[tuple[float, float]]
) -> None:
    store_ticks(database, symbol, CLOSE, ticks)
    store_answer(database, AT, symbol=symbol, price=1990, strikes=[2000], prob_beyond=[40], settlement="mean_60s")
    assert settle() == 0
    assert closing_price(database, symbol) is None
    assert outcomes(database, symbol) == [(1990, 2000, None)]


def test_ticks_after_the_close_do_not_change_what_it_settles_on(
    database: Database, symbol: str, settle: Callable[..., int]
) -> None:
    store_ticks(database, symbol, CLOSE, [(second, 150.0) for second in MINUTE])
    store_ticks(database, symbol, CLOSE, [(second, 900.0) for second in range(0, -30, -1)])
    store_answer(database, AT, symbol=symbol, settlement="mean_60s")
    assert settle() == 1
    assert closing_price(database, symbol) == 150.0


def test_a_strike_has_one_outcome_from_both_sides(database: Database, symbol: str, settle: Callable[..., int]) -> None:
    """The market closes exactly at the strike: at or above it, and not below it. The ticks begin with the minute."""
    store_ticks(database, symbol, CLOSE, [(second, 150.0) for second in range(60)])
    for minutes, price in ((20, 149.5), (10, 150.5)):
        store_answer(
            database,
            CLOSE - timedelta(minutes=minutes),
            symbol=symbol,
            price=price,
            strikes=[150],
            prob_beyond=[40],
            settlement="mean_60s",
        )
    assert settle() == 2
    assert outcomes(database, symbol) == [(149.5, 150, True), (150.5, 150, False)]


@pytest.mark.parametrize(
    ("source", "status", "producer", "is_settled"),
    [
        ("kraken", "ok", "kraken", True),
        ("kraken", "ok", "coinbase", False),
        ("external", "ok", "coinbase", True),
        ("external", "ok", "replay", False),
        (None, "ok", "coinbase", True),
        (None, "ok", "replay", False),
        ("replay", "replay", "replay", True),
        ("replay", "stale", "replay", True),
        ("replay", "replay", "kraken", False),
        (None, "replay", "kraken", False),
        (None, "replay", "replay", True),
    ],
)
@pytest.mark.parametrize("settlement", ["mean_60s", "last_price"])
def test_an_answer_is_settled_by_the_prices_of_its_source(
    database: Database,
    symbol: str,
    settle: Callable[..., int],
    source: str | None,
    status: str,
    producer: str,
    is_settled: bool,
    settlement: str,
) -> None:
    store_ticks(database, symbol, CLOSE, [(second, 150.0) for second in MINUTE], producer)
    store_answer(database, AT, symbol=symbol, source=source, status=status, settlement=settlement)
    assert settle() == int(is_settled)
    assert closing_price(database, symbol) == (150.0 if is_settled else None)


def test_answers_of_two_rules_and_sources_share_a_close(
    database: Database, symbol: str, settle: Callable[..., int]
) -> None:
    store_ticks(database, symbol, CLOSE, [(second, 100.0 + second) for second in MINUTE], "kraken")
    store_ticks(database, symbol, CLOSE, [(second + 0.5, 500.0) for second in MINUTE], "replay")
    for minutes, given in enumerate(
        (
            {"settlement": "mean_60s", "source": "kraken"},
            {"settlement": "last_price", "source": "kraken"},
            {"settlement": "mean_60s", "source": "replay", "status": "replay"},
        )
    ):
        store_answer(database, AT + timedelta(minutes=minutes), symbol=symbol, **given)  # type: ignore[arg-type]
    assert settle() == 3
    with database.connect("test", Role.READER) as connection:
        found = connection.execute(
            "SELECT closing_price FROM live_data.answer WHERE symbol = %s ORDER BY answered_at", [symbol]
        ).fetchall()
    assert found == [(130.5,), (101.0,), (500.0,)]


def test_the_basis_moves_the_value_to_the_markets_index(
    database: Database, symbol: str, settle: Callable[..., int]
) -> None:
    store_ticks(database, symbol, CLOSE, [(second, 100.0) for second in MINUTE])
    given = {"symbol": symbol, "price": 99.9, "strikes": [99.0, 100.005, 100.02], "prob_beyond": [40, 40, 40]}
    store_answer(database, AT, **given, settlement="mean_60s", basis_bps=1.0)  # type: ignore[arg-type]
    assert settle() == 1
    assert closing_price(database, symbol) == 100.0
    assert [row[2] for row in outcomes(database, symbol)] == [False, True, False]
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT DISTINCT market_value, settlement, basis_bps, replayed FROM live_data.answer_strike WHERE symbol = %s",
            [symbol],
        ).fetchone()
    assert row is not None
    assert row == (pytest.approx(100.010000500017), "mean_60s", 1.0, False)


def test_an_answer_is_not_settled_before_its_close_nor_after_eight_days(
    database: Database, symbol: str, settle: Callable[..., int]
) -> None:
    store_ticks(database, symbol, CLOSE, [(second, 100.0) for second in MINUTE])
    store_answer(database, AT, symbol=symbol, settlement="mean_60s")
    assert settle(CLOSE - timedelta(milliseconds=1)) == 0
    assert settle(AT + timedelta(days=8)) == 0
    assert settle(AT + timedelta(days=8) - timedelta(seconds=1)) == 1


def test_a_new_day_has_the_rules_default_and_checks(database: Database, symbol: str) -> None:
    insert = (
        "INSERT INTO live_data.answer (symbol, answered_at, market_close, ttc_seconds, price, model, generation, strikes, "
        "prob_beyond, status{}) VALUES (%s, %s, %s, 600, 1, 'momentum', 1, '{{1}}', '{{40}}', 'ok'{})"
    )
    given = [symbol, AT, CLOSE]
    with database.connect("test", Role.LIVE) as connection:
        connection.execute("SELECT live_data.create_day_partition('answer', %s)", [AT.date()])
        connection.execute(insert.format("", ""), given)
        row = connection.execute(
            "SELECT settlement, basis_bps, source FROM live_data.answer WHERE symbol = %s", [symbol]
        ).fetchone()
    assert row == ("mean_60s", None, None)
    for column, value in (("settlement", "'median'"), ("settlement", "NULL"), ("basis_bps", "'NaN'")):
        with (
            psycopg.connect(database.conninfo("test", Role.LIVE)) as connection,
            pytest.raises(psycopg.errors.IntegrityError),
        ):
            connection.execute(insert.format(f", {column}", f", {value}"), [f"{symbol}X", AT, CLOSE])
