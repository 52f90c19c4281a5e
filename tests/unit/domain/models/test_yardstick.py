"""When the models of moves are rebuilt."""

from dataclasses import replace

import pytest

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.yardstick import BuiltYardstick, due_yardstick
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK

CONFIG = ModelConfig()
#: A week of BTC begins at some midnight of these seven.
MONDAY = 2_900 * MINUTES_PER_WEEK
BUILT = BuiltYardstick(CONFIG, MONDAY, None)


def due(*built: BuiltYardstick, champion: str | None = "standardised", end: int = MONDAY) -> str | None:
    return due_yardstick("BTC", champion, built, CONFIG, end)


def test_a_symbol_is_rebuilt_on_one_day_of_the_week() -> None:
    days = [
        day
        for day in range(1, 15)
        if due(*[replace(BUILT, end=MONDAY + (day - 1) * MINUTES_PER_DAY)] * 2, end=MONDAY + day * MINUTES_PER_DAY)
    ]
    assert len(days) == 2
    assert days[1] - days[0] == 7


def test_all_days_of_the_week_are_used_by_200_symbols() -> None:
    counts = [
        sum(
            due_yardstick(f"S{number}", "standardised", [replace(BUILT, end=day - MINUTES_PER_DAY)] * 2, CONFIG, day)
            is not None
            for number in range(200)
        )
        for day in range(MONDAY, MONDAY + MINUTES_PER_WEEK, MINUTES_PER_DAY)
    ]
    assert sum(counts) == 200
    assert max(counts) < 50


def test_a_missed_day_is_made_up_for() -> None:
    assert due(BUILT, BUILT, end=MONDAY + 8 * MINUTES_PER_DAY) == "a new week has begun"


@pytest.mark.parametrize("champion", ["momentum", "climatology"])
def test_what_answers_is_rebuilt_each_time(champion: str) -> None:
    assert due(BUILT, BUILT, champion=champion) == f"{champion} answers for BTC"


def test_nothing_published_another_profile_and_corrected_bars_are_reasons() -> None:
    assert due(BUILT, BUILT) is None
    assert due(champion=None) == "it is not published yet"
    assert due(BUILT) == "it is not published yet"
    source = replace(BUILT, config=replace(CONFIG, profile=Profile.SOURCE))
    assert due(BUILT, source) == "the configuration has changed"
    assert due(BUILT, replace(BUILT, changed_from=MONDAY - 1)) == "bars that it was built from have changed"
    assert due(BUILT, replace(BUILT, changed_from=MONDAY)) is None
