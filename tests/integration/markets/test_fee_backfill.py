"""Backfill of fee terms: those of series, and of events that have their own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from exchange_server import status
from market_messages import event, market_2026
from market_server import MarketServer, serving_in_thread

from pipelines.errors import MarketError
from pipelines.markets.backfill import BackfillPlan, fetch_fees
from pipelines.storage.postgres.connection import Database, Role

CLOSE = datetime(2026, 7, 22, 18, tzinfo=UTC)
NOW = CLOSE + timedelta(hours=6)
EVENT = "KXBTCD-26JUL2214"
LATER = "KXBTCD-26JUL2215"
SERIES = {"ticker": "KXBTCD", "fee_type": "quadratic", "fee_multiplier": 1}


def closing(name: str, closes_at: datetime = CLOSE, **own: Any) -> dict[str, Any]:
    """An event of one market with fee terms of its own."""
    life = {"open_time": (closes_at - timedelta(hours=1)).isoformat(), "close_time": closes_at.isoformat()}
    return event([market_2026("1.99", name, **life)], name, **own)


@pytest.fixture
def exchange(database: Database) -> Iterator[MarketServer]:
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE market_data.market_fee")
    with serving_in_thread(MarketServer(events=[closing(EVENT)], series={"KXBTCD": SERIES})) as served:
        yield served


def plan(exchange: MarketServer, *series: str) -> BackfillPlan:
    since = NOW - timedelta(days=3)
    return BackfillPlan("kalshi", "BTC", series or ("KXBTCD",), since, NOW, NOW, exchange.settings(attempts=2))


def query(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def test_one_failing_series_does_not_stop_the_others(database: Database, exchange: MarketServer) -> None:
    both = plan(exchange, "KXGONE", "KXBTCD")
    fees = fetch_fees(database, both)
    assert (fees.series, fees.periods) == (1, 1)
    [problem] = fees.problems
    assert problem.startswith("fees of KXGONE: ")
    assert query(database, "SELECT series_ticker, fee_type, multiplier::int FROM market_data.market_fee") == [
        ("KXBTCD", "quadratic", 1)
    ]
    with pytest.raises(MarketError, match=r"^fees of KXGONE: "):
        fetch_fees(database, plan(exchange, "KXGONE"))


def test_fee_terms_of_single_events_are_stored_with_those_of_their_series(
    database: Database, exchange: MarketServer
) -> None:
    exchange.events[:] = [
        closing(EVENT, fee_multiplier_override=0),
        closing(LATER, NOW + timedelta(hours=1), fee_type_override="quadratic_with_maker_fees"),
        closing("KXBTCD-OLD", NOW - timedelta(days=4), fee_multiplier_override=3),
        closing("KXBTCD-USUAL"),
    ]
    report = fetch_fees(database, plan(exchange))
    assert (report.series, report.periods, report.events, report.problems) == (1, 1, 2, [])
    statement = "SELECT event_ticker, fee_type, multiplier::int, starts_at::text FROM market_data.market_fee ORDER BY 1"
    stored = query(database, statement)
    assert stored == [
        ("", "quadratic", 1, "-infinity"),
        (EVENT, "quadratic", 0, "-infinity"),
        (LATER, "quadratic_with_maker_fees", 1, "-infinity"),
    ]
    assert fetch_fees(database, plan(exchange)).events == 2
    assert query(database, statement) == stored


def test_terms_of_a_series_are_stored_when_its_events_are_not_answered(
    database: Database, exchange: MarketServer
) -> None:
    exchange.fail("/events", status(404))
    report = fetch_fees(database, plan(exchange))
    assert (report.series, report.events) == (1, 0)
    assert report.problems[0].startswith("events of KXBTCD: ")
    assert query(database, "SELECT count(*) FROM market_data.market_fee") == [(1,)]
