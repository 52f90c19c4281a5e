"""Alerts about strike tables: quotes that stay unavailable, and tables that are not written."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sample_ladders import ladder
from sample_strike_tables import ABOVE, strike_table

from pipelines.domain.models.freshness import SessionState, TableFreshness, judge
from pipelines.domain.monitoring.alerts import (
    AlertLimits,
    AlertSeverity,
    Facts,
    Problem,
    RunbookHeading,
    is_unknown,
    problems,
)
from pipelines.live.probability_reader import view_of
from pipelines.live.strike_table_reader import TableName, table_of
from pipelines.monitoring.alert_delivery import read_state, update_alerts
from pipelines.settings import load_settings

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
ALIVE = SessionState(True, 4, "running", "external", 100, 0.4)
DEAD = SessionState(False, 4, "crashed", "external", 100, 90.0)
TIMED_OUT = "unavailable: events of KXBTCD: timed out"
KEY = "market quotes BTC KXBTCD"


def table(age_seconds: float = 0.5, session: SessionState = ALIVE, **fields: Any) -> TableFreshness:
    payload = strike_table(95_100.0, NOW - timedelta(seconds=age_seconds), **fields)
    return table_of(TableName("BTC", ABOVE), orjson.dumps(payload), NOW).judge(session)


def found(
    tables: Sequence[TableFreshness], file_age_seconds: float = 0.5, session: SessionState = ALIVE
) -> list[Problem]:
    content = orjson.dumps(ladder(95_100.0, NOW - timedelta(seconds=file_age_seconds)))
    file = judge(view_of("BTC", content, NOW).file, session)
    return problems(Facts(NOW, files=[file], tables=tables), AlertLimits(), NOW)


def alerts_after(minutes: Iterable[float], at: datetime = NOW, failing: Sequence[Problem] | None = None) -> list[bool]:
    """Whether there is an alert after each evaluation; a negative minute is one without a problem."""
    settings, states = load_settings(), []
    failing = found([table(market_status=TIMED_OUT)]) if failing is None else failing
    for minute in minutes:
        evaluated = [] if minute < 0 else failing
        update_alerts(settings, evaluated, at + timedelta(minutes=abs(minute)), lambda _: None)
        states.append(failing[0].key in read_state(settings, at).active)
    return states


def test_unavailable_quotes_are_a_warning_with_their_reason() -> None:
    [problem] = found([table(market_status=TIMED_OUT)])
    assert (problem.key, problem.heading, problem.severity) == (KEY, RunbookHeading.QUOTES, AlertSeverity.WARNING)
    assert problem.message == "BTC KXBTCD: events of KXBTCD: timed out"


def test_a_table_of_an_open_halted_or_closed_event_is_no_problem() -> None:
    for status in ("open", "halted: the exchange does not trade", "closed"):
        assert found([table(market_status=status)]) == []


def test_a_series_without_an_event_is_a_warning_after_two_hours() -> None:
    gone = found([table(market_status="no event")])
    [problem] = gone
    assert (problem.key, problem.heading, problem.severity) == (
        "market event BTC KXBTCD",
        RunbookHeading.QUOTES,
        AlertSeverity.WARNING,
    )
    assert problem.message == "BTC KXBTCD: the exchange lists no event of KXBTCD"
    assert alerts_after([0, 60, 119.9, 120, 121, -122], failing=gone) == [False, False, False, True, True, False]
    [empty] = found([table(market_status="no event: KXBTCD-26MAR0411 has no markets")])
    assert empty.message == "BTC KXBTCD: KXBTCD-26MAR0411 has no markets"
    [sooner] = problems(Facts(NOW, tables=[table(market_status="no event")]), AlertLimits(event_seconds=60), NOW)
    assert sooner.after == timedelta(minutes=1)


def test_without_fresh_prices_a_missing_event_has_no_alert_of_its_own() -> None:
    late = found([table(0.5, market_status="no event")], 61)
    assert [one.key for one in late] == ["file BTC"]
    assert found([table(61, DEAD, market_status="no event")], 61, DEAD)[0].key == "file BTC"
    assert is_unknown("market event BTC KXBTCD", Facts(NOW, database_error="gone"))


def test_an_alert_starts_after_five_minutes_without_quotes_and_ends_with_them() -> None:
    assert alerts_after([0, 0.5, 4.9, 5, 6, -6.5]) == [False, False, False, True, True, False]


def test_quotes_in_between_start_the_time_again() -> None:
    assert alerts_after([0, 4, -4.5, 5, 9.9, 10]) == [False] * 5 + [True]


def test_the_time_is_a_setting() -> None:
    content = found([table(market_status=TIMED_OUT)])[0].after
    assert content == timedelta(minutes=5)
    [problem] = problems(Facts(NOW, tables=[table(market_status=TIMED_OUT)]), AlertLimits(quotes_seconds=60), NOW)
    assert problem.after == timedelta(minutes=1)
    assert load_settings().alerts.quotes_seconds == 300


def test_a_table_that_is_not_written_while_the_probabilities_are_is_a_warning() -> None:
    [problem] = found([table(61)])
    assert (problem.key, problem.severity) == ("strike table BTC KXBTCD", AlertSeverity.WARNING)
    assert problem.message.startswith("BTC KXBTCD: the file is not being written: it is 61 s old; session 4 runs")
    assert found([table(59)]) == []


def test_a_session_that_ended_has_one_alert_for_both_files() -> None:
    late = found([table(61, DEAD, market_status=TIMED_OUT)], 61, DEAD)
    assert [(one.key, one.severity) for one in late] == [("file BTC", AlertSeverity.CRITICAL)]


def test_a_table_that_was_never_written_is_no_problem() -> None:
    missing = table_of(TableName("BTC", ABOVE), None, NOW).judge(ALIVE)
    assert found([missing]) == []


def test_alerts_of_tables_stay_while_the_database_cannot_be_read() -> None:
    facts = Facts(NOW, database_error="gone")
    assert is_unknown(KEY, facts)
    assert is_unknown("strike table BTC KXBTCD", facts)
