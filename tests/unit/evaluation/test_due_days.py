"""Which days of live answers are to be scored."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.evaluation.live_scores import due_days
from pipelines.storage.evaluation.scores import SETTLED_WITHIN

NOW = datetime(2026, 3, 10, 0, 10, tzinfo=UTC)
YESTERDAY = datetime(2026, 3, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def test_every_complete_day_is_due_until_it_is_scored() -> None:
    assert due_days(NOW, set()) == [YESTERDAY - back * DAY for back in range(6, -1, -1)]
    scored = {YESTERDAY, YESTERDAY - 2 * DAY}
    assert due_days(NOW, scored) == [YESTERDAY - back * DAY for back in (6, 5, 4, 3, 1)]
    assert due_days(NOW, {YESTERDAY - back * DAY for back in range(8)}) == []


@pytest.mark.parametrize("seconds", [0, 59])
def test_a_day_is_due_when_its_last_answers_and_ticks_are_stored(seconds: int) -> None:
    midnight = YESTERDAY + DAY
    assert YESTERDAY not in due_days(midnight + timedelta(seconds=seconds), set())
    assert due_days(midnight + timedelta(seconds=60), set())[-1] == YESTERDAY


@pytest.mark.parametrize("hour", range(0, 24, 6))
def test_all_answers_of_a_due_day_can_still_be_settled(hour: int) -> None:
    now = NOW.replace(hour=hour)
    assert min(due_days(now, set())) >= now - SETTLED_WITHIN
