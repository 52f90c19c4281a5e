"""Scores of live answers: each complete day once, by settlement rule, without replayed prices."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from live_sessions import new_session, running_in_thread
from past_answers import store_answer, store_ticks
from small_builds import build_generation
from synthetic_prices import ingest_bars, synthetic_bars
from waiting import wait_until

from pipelines.evaluation.live_scores import LiveScores, score_live_days
from pipelines.live.feeds.factory import replay_factory
from pipelines.storage.evaluation.scores import read_score_runs
from pipelines.storage.postgres.connection import Database, Role

TODAY = datetime(2026, 3, 10, tzinfo=UTC)
NOW = TODAY + timedelta(minutes=10)
DAY = timedelta(days=1)
_numbers = count()


@pytest.fixture
def symbol() -> str:
    """A symbol of its own for each test."""
    return f"L{next(_numbers)}"


def answer_day(
    database: Database, symbol: str, day: datetime, hours: tuple[int, ...] = (4, 23), **options: str
) -> None:
    """Answers of a day at 45 minutes past some hours, and the ticks that settle them at 100 USD."""
    for hour in hours:
        close = store_answer(database, day + timedelta(hours=hour, minutes=45), symbol=symbol, **options)  # type: ignore[arg-type]
        store_ticks(
            database, symbol, close, [(second, 100.0) for second in range(1, 61)], options.get("source", "test")
        )


def score(database: Database, symbol: str, now: datetime = NOW) -> LiveScores:
    with database.connect("test", Role.PIPELINE) as connection:
        return score_live_days(connection, symbol, now)


def stored_days(database: Database, symbol: str) -> list[datetime]:
    with database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT scored_from, scored_until FROM analytics.score_run WHERE symbol = %s AND origin = 'live' ORDER BY 1",
            [symbol],
        ).fetchall()
    assert all(until - since == DAY for since, until in rows)
    return [row[0] for row in rows]


def test_missed_days_are_scored_once_each(database: Database, symbol: str) -> None:
    for back in (1, 3, 4, 9):
        answer_day(database, symbol, TODAY - back * DAY)
    found = score(database, symbol)
    assert list(found.days) == stored_days(database, symbol) == [TODAY - back * DAY for back in (4, 3, 1)]
    assert [row.n for row in found.rows if row.dimension == "all"] == [4, 4, 4], "two answers of two strikes"
    assert score(database, symbol, NOW + timedelta(hours=20)).days == {}
    answer_day(database, symbol, TODAY)
    assert score(database, symbol, NOW + timedelta(hours=23)).days == {}, "today is not over"
    assert list(score(database, symbol, NOW + DAY).days) == [TODAY]
    assert stored_days(database, symbol) == [TODAY - back * DAY for back in (4, 3, 1, 0)]


def test_a_day_waits_for_the_last_close(database: Database, symbol: str) -> None:
    answer_day(database, symbol, TODAY - DAY, (23,))
    assert score(database, symbol, TODAY - timedelta(seconds=1)).days == {}
    assert score(database, symbol, TODAY).days == {}, "its last ticks may not be stored yet"
    assert list(score(database, symbol, TODAY + timedelta(minutes=1)).days) == [TODAY - DAY]


def test_two_runs_at_once_score_a_day_once(database: Database, symbol: str) -> None:
    answer_day(database, symbol, TODAY - DAY, (4,))
    score(database, symbol, TODAY)  # which settles, and is too early to score

    def is_waiting() -> bool:
        with database.connect("observer", None) as connection:
            return connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
            ).fetchone() == (1,)

    with ThreadPoolExecutor(1) as threads:
        with database.connect("test", Role.PIPELINE) as first:
            assert list(score_live_days(first, symbol, NOW).days) == [TODAY - DAY]
            second = threads.submit(score, database, symbol)
            wait_until(lambda: is_waiting() or second.done(), "the second run to wait or end")
        assert second.result().days == {}
    assert stored_days(database, symbol) == [TODAY - DAY]


def test_a_run_that_fails_leaves_its_days_to_the_next(database: Database, symbol: str) -> None:
    answer_day(database, symbol, TODAY - DAY)
    with database.connect("test", Role.PIPELINE) as connection:
        assert list(score_live_days(connection, symbol, NOW).days) == [TODAY - DAY]
        connection.rollback()
    assert stored_days(database, symbol) == []
    assert list(score(database, symbol).days) == [TODAY - DAY]


def test_each_score_is_of_answers_of_one_rule(database: Database, symbol: str) -> None:
    """The price falls in the last second: the last price is below the strike, the mean above it."""
    for hour, settlement in ((4, "last_price"), (5, "mean_60s"), (6, "mean_60s")):
        at = TODAY - DAY + timedelta(hours=hour, minutes=45)
        close = store_answer(
            database, at, symbol=symbol, strikes=[101], prob_beyond=[40], settlement=settlement, model="normal"
        )
        store_ticks(database, symbol, close, [(second, 99.0 if second == 1 else 102.0) for second in range(1, 61)])
    rows = score(database, symbol).rows
    pooled = {str(row.settlement): row for row in rows if row.dimension == "all"}
    assert {rule: (row.n, row.observed_frequency) for rule, row in pooled.items()} == {
        "last_price": (1, 0.0),
        "mean_60s": (2, 1.0),
    }
    assert {(str(row.settlement), row.level) for row in rows if row.dimension == "hour"} == {
        ("last_price", "4"),
        ("mean_60s", "5"),
        ("mean_60s", "6"),
    }
    with database.connect("test", Role.READER) as connection:
        stored = read_score_runs(connection, symbol, 5)
    assert {(one.model, one.settlement, one.n, one.happened) for one in stored} == {
        ("normal", "last_price", 1, 0.0),
        ("normal", "mean_60s", 2, 1.0),
    }


def test_answers_that_cannot_be_scored_are_counted(database: Database, symbol: str) -> None:
    answer_day(database, symbol, TODAY - DAY, (4,))
    answer_day(database, symbol, TODAY - DAY, (5, 6, 7), source="replay", status="replay")
    store_answer(database, TODAY - DAY + timedelta(hours=8), symbol=symbol)
    found = score(database, symbol)
    assert found.settled == 4, "replayed answers too, for past ladders"
    assert (found.replayed, found.unsettled) == (3, 1)
    assert [row.n for row in found.rows if row.dimension == "all"] == [2]


def test_a_day_of_replayed_prices_has_no_score(database: Database, symbol: str) -> None:
    answer_day(database, symbol, TODAY - DAY, source="replay", status="replay")
    found = score(database, symbol)
    assert (found.days, found.replayed, found.unsettled) == ({}, 2, 0)
    assert stored_days(database, symbol) == []


def test_a_session_that_replays_is_never_scored(database: Database, tmp_path: Path, symbol: str) -> None:
    ingest_bars(database, symbol, synthetic_bars(3), tmp_path)
    build_generation(database, symbol, seed=1)

    def answers() -> int:
        with database.connect("test", Role.READER) as connection:
            row = connection.execute("SELECT count(*) FROM live_data.answer WHERE symbol = %s", [symbol]).fetchone()
        assert row is not None
        return int(row[0])

    with running_in_thread(new_session(database, tmp_path, symbol, feed=replay_factory([symbol]))):
        wait_until(lambda: answers() > 0, "an answer to be stored")
    with database.connect("test", None) as connection:  # as if there were ticks of the market instead
        # In the last 70 seconds of an hour the replayed ticks would settle the answers.
        connection.execute("DELETE FROM live_data.price_log WHERE symbol = %s AND source = 'replay'", [symbol])
        closes = connection.execute("SELECT DISTINCT market_close FROM live_data.answer WHERE symbol = %s", [symbol])
        for (close,) in closes.fetchall():
            store_ticks(database, symbol, close, [(second, 100.0) for second in range(1, 61)])
    found = score(database, symbol, datetime.now(UTC) + DAY)
    assert (found.days, found.settled) == ({}, 0)
    assert found.replayed == answers() > 0
