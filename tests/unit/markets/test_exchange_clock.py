"""The exchange's clock compared with ours by the dates of its answers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.markets.exchange_clock import ANSWERS, ClockComparison

START = datetime(2026, 3, 21, 9, 30, 0, 250_000, tzinfo=UTC)


def answers(offset: float, count: int = ANSWERS, latency: float = 0.05, start: datetime = START) -> ClockComparison:
    """Answers each second of an exchange whose clock is `offset` seconds ahead of ours."""
    found = ClockComparison()
    for second in range(count):
        add(found, start + timedelta(seconds=second), offset, latency)
    return found


def add(found: ClockComparison, sent_at: datetime, offset: float, latency: float = 0.05, **headers: str) -> None:
    written = sent_at + timedelta(seconds=latency / 2 + offset)
    date = f"{written:%a, %d %b %Y %H:%M:%S} GMT"
    found.add(sent_at, sent_at + timedelta(seconds=latency), {"Date": date, **headers})


@pytest.mark.parametrize(("offset", "state"), [(3.0, "behind"), (-3.0, "ahead of"), (3600.0, "behind")])
def test_a_difference_of_three_seconds_is_a_problem(offset: float, state: str) -> None:
    problem = answers(offset).problem
    assert problem is not None
    assert f" s {state} the exchange's" in problem
    shown = float(problem.removeprefix("this machine's clock is about ").split(" ")[0])
    assert abs(shown - abs(offset)) <= 0.5


@given(
    offset=st.floats(-1.4, 1.4),
    latency=st.floats(0.0, 2.0),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 (made aware below)
    count=st.integers(1, 40),
)
def test_clocks_that_differ_by_less_than_the_limit_are_no_problem(
    offset: float, latency: float, start: datetime, count: int
) -> None:
    assert answers(offset, count, latency, start.replace(tzinfo=UTC)).problem is None


@given(
    offset=st.one_of(st.floats(3.0, 1e6), st.floats(-1e6, -3.0)),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 (made aware below)
)
def test_one_answer_suffices_for_three_seconds(offset: float, start: datetime) -> None:
    assert answers(offset, 1, 0.05, start.replace(tzinfo=UTC)).problem is not None


def test_names_of_headers_may_be_in_small_letters() -> None:
    found = ClockComparison()
    found.add(START, START, {"date": "Sat, 21 Mar 2026 09:31:00 GMT"})
    assert found.problem is not None


def test_a_clock_that_was_set_is_no_problem_any_more() -> None:
    found = answers(5.0)
    assert found.problem is not None
    add(found, START + timedelta(seconds=60), 0.0)
    assert found.problem is None


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}, {"Date": "Sat, 21 Mar 2020 09:30:00"}])
def test_an_answer_without_a_usable_date_says_nothing(headers: dict[str, str]) -> None:
    found = ClockComparison()
    found.add(START, START, headers)
    assert found.problem is None


def test_an_answer_from_a_cache_says_nothing() -> None:
    found = ClockComparison()
    add(found, START, -60.0, Age="60")
    assert found.problem is None
