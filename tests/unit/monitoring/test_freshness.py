"""The file's status, `/health`, the alerts and the audit's target are one judgement: they cannot disagree."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_ladders import ladder

from pipelines.domain.models.freshness import (
    ALERT_AFTER_SECONDS,
    STALE_AFTER_SECONDS,
    SessionState,
    Status,
    judge,
    written_status,
)
from pipelines.domain.models.ladder import payload_without_answers
from pipelines.domain.monitoring.alerts import AlertLimits, Facts, RunbookHeading, problems
from pipelines.domain.monitoring.audit.targets import State
from pipelines.domain.monitoring.audit.targets import judge as judge_targets
from pipelines.live.probability_reader import View, view_of
from pipelines.monitoring.audit.declarations import targets
from pipelines.monitoring.audit.records import measure_file
from pipelines.storage.live.health_queries import DatabaseHealth
from pipelines.web.health import health_report

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
ALIVE = SessionState(True, 4, "running", "external", 100, 0.4)
DEAD = SessionState(False, 4, "crashed", "external", 100, 90.0)
FULL = replace(ALIVE, write_failure="/srv/output: No space left on device")
SESSION, PRICES = RunbookHeading.SESSION, RunbookHeading.PRICES


def content(file_age: float = 0.3, price_age: float = 0.3, *reasons: str, **fields: Any) -> bytes:
    payload = ladder(
        95_100.0, NOW - timedelta(seconds=file_age), price_at=NOW - timedelta(seconds=price_age), problems=reasons
    )
    return orjson.dumps(payload | fields)


def without_price(reason: str) -> bytes:
    return orjson.dumps(payload_without_answers(NOW, None, 250.0, [reason], session=4, source="external"))


@dataclass(frozen=True)
class Four:
    """The four judgements of a symbol."""

    status: Status
    problems: list[str]
    alert: str | None
    heading: RunbookHeading | None
    target: State


def four(view: View, session: SessionState) -> Four:
    health = health_report([view], DatabaseHealth({"BTC": 7}, session), NOW)
    alerts = problems(Facts(NOW, files=[judge(view.file, session)]), AlertLimits(), NOW)
    measured = measure_file(view, NOW - timedelta(minutes=5), NOW).items
    [target] = [one for one in judge_targets(targets(), measured) if one.target.name == "answer_age"]
    assert health["checks"]["symbols"]["BTC"]["status"] == view.status
    first = alerts[0] if alerts else None
    return Four(
        view.status,
        health["problems"],
        None if first is None else first.message,
        None if first is None else first.heading,
        target.state,
    )


def require_agreement(found: Four) -> None:
    fresh = found.status in {Status.OK, Status.REPLAY, Status.DEGRADED}
    assert found.status is not Status.OK or not [one for one in found.problems if one.startswith("BTC")]
    assert (found.target is State.MET) == fresh, "not measured: dated ahead"
    if found.alert is not None:
        assert not fresh
        assert any(one in found.alert for one in found.problems), "the health report gives the same reason"


@pytest.mark.parametrize(
    ("file", "session", "status", "heading", "reason"),
    [
        (content(), ALIVE, Status.OK, None, ""),
        (content(0.3, 0.3, "momentum is not known"), ALIVE, Status.DEGRADED, None, ""),
        (None, ALIVE, Status.MISSING, SESSION, "session 4 runs but does not refresh it"),
        (None, DEAD, Status.MISSING, SESSION, "no live session is running"),
        (b"{", ALIVE, Status.UNREADABLE, SESSION, "is not a probability file"),
        (content(3.0, 3.0), ALIVE, Status.STALE, None, ""),
        (content(0.3, 9.0), ALIVE, Status.STALE, None, ""),
        (content(0.3, 75.0), ALIVE, Status.STALE, PRICES, "BTC: the price is 75 s old (feed external)"),
        (
            content(0.3, 75.0, "kraken: no answer within 5 s"),
            replace(ALIVE, feed="kraken"),
            Status.STALE,
            PRICES,
            "BTC: the price is 75 s old (feed kraken); kraken: no answer within 5 s",
        ),
        (content(75.0, 75.0), DEAD, Status.UNWRITTEN, SESSION, "no live session is running"),
        (
            content(75.0, 75.0),
            replace(DEAD, ended_because="OSError: disk quota exceeded"),
            Status.UNWRITTEN,
            SESSION,
            "session 4 ended: OSError: disk quota exceeded",
        ),
        (
            content(75.0, 75.0),
            replace(ALIVE, heartbeat_age_seconds=74.0),
            Status.UNWRITTEN,
            SESSION,
            "the last heartbeat of session 4 is 74 s old",
        ),
        (content(75.0, 75.0), ALIVE, Status.UNWRITTEN, SESSION, "session 4 runs but does not refresh it"),
        (
            content(75.0, 75.0),
            FULL,
            Status.UNWRITTEN,
            RunbookHeading.STORAGE,
            "session 4 runs but cannot write: /srv/output: No space left on device",
        ),
        (content(0.3, 0.3, status="replay"), replace(ALIVE, feed="replay"), Status.REPLAY, None, ""),
        (without_price("no price of BTC has arrived"), ALIVE, Status.STALE, PRICES, "no price of BTC has arrived"),
        (content(0.3, 0.3, status="stale"), DEAD, Status.STALE, None, ""),
        (content(-30.0, -30.0), ALIVE, Status.STALE, RunbookHeading.CLOCK, "the file is 30 s ahead of this clock"),
        # A replay dates its prices by the clock.
        (content(0.3, 0.3), replace(ALIVE, feed="replay"), Status.OK, None, ""),
        (content(0.3, 80.0), replace(ALIVE, feed="replay"), Status.STALE, PRICES, "(feed replay)"),
    ],
)
def test_each_situation_has_one_judgement(
    file: bytes | None, session: SessionState, status: Status, heading: RunbookHeading | None, reason: str
) -> None:
    found = four(view_of("BTC", file, NOW), session)
    assert (found.status, found.heading) == (status, heading)
    assert reason in (found.alert or "")
    require_agreement(found)


#: Files have milliseconds. At exactly 2 s a file is still fresh, and the target, which says `below`, missed.
MILLISECONDS = (st.integers(-100_000, 200_000) | st.integers(-2_001, 2_001)).filter(lambda one: one != 2_000)
AGES = MILLISECONDS.map(lambda one: one / 1_000)


@given(AGES, AGES, st.sampled_from(["ok", "replay", "degraded", "stale"]), st.sampled_from([ALIVE, DEAD, FULL]))
def test_no_ages_make_the_four_disagree(file_age: float, price_age: float, written: str, session: SessionState) -> None:
    found = four(view_of("BTC", content(file_age, price_age, status=written), NOW), session)
    require_agreement(found)
    if max(file_age, price_age) >= ALERT_AFTER_SECONDS:
        assert found.alert is not None


@given(st.integers(0, 10_000).map(lambda one: one / 1_000), st.booleans(), st.booleans())
def test_a_session_writes_the_status_that_its_readers_judge(price_age: float, degraded: bool, last: bool) -> None:
    problem = ["momentum is not known"] if degraded else []
    written = written_status(price_age, problem, last=last)
    view = view_of("BTC", content(0.0, price_age, *problem, status=str(written)), NOW)
    assert view.status is written


def test_the_audits_target_has_the_limit_of_the_judgement() -> None:
    [target] = [one for one in targets() if one.name == "answer_age"]
    assert target.bound == STALE_AFTER_SECONDS
