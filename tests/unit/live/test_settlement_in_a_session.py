"""What a live session knows of its market's settlement, and what its file says of it."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest
from refreshers import CLOSE, PRICE, ROWS, RULE, TIER, Files, refresher, tick_each_second

from pipelines.domain.markets.basis import Basis, BasisChoice, BasisSource
from pipelines.domain.markets.settlement import Settlement, SettlementRule
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderQuery, ladder_strikes_usd
from pipelines.domain.prices.ticks import Tick, minutes_of
from pipelines.live import bases
from pipelines.live.symbol_refresher import NOT_ESTIMATED, SymbolRefresher


def payload_at(one: SymbolRefresher, seconds_before: float) -> dict[str, Any]:
    asyncio.run(one.refresh(cast(Any, None), CLOSE - timedelta(seconds=seconds_before)))
    return cast(Files, one.files).payload


def expected(ttc: float, settlement: Settlement) -> list[float]:
    strikes = ladder_strikes_usd(PRICE, TIER)
    states = MarketStates.single(minutes_of(CLOSE), 0.0)
    query = LadderQuery(RULE, RULE.axes, states, PRICE, strikes, ttc, settlement=settlement)
    return [row["positive_prob"] for row in query.answer_from_lookup(ROWS).rows()]


def above(payload: dict[str, Any]) -> list[float | None]:
    return [row["positive_prob"] for row in payload["probabilities"]]


def test_the_file_answers_for_the_mean_and_the_part_of_it_that_is_known() -> None:
    one = refresher()
    tick_each_second(one, 75, 41, PRICE + 20)
    tick_each_second(one, 40, 30, PRICE)
    payload = payload_at(one, 30)
    # The values of the seconds that end 59 to 30 s before the close: 19 of the former price and 11 of the latter.
    known = PRICE + 20 * 19 / 30
    assert (payload["settlement"], payload["known_values"]) == ("mean_60s", 30)
    assert payload["known_mean"] == pytest.approx(known, abs=20 / 30)
    assert above(payload) == expected(30, Settlement(SettlementRule.MEAN_60S, payload["known_mean"]))
    assert one.answer is not None
    assert (one.answer["settlement"], one.answer["basis_bps"]) == ("mean_60s", None)


def test_the_last_price_knows_no_mean_and_needs_no_basis() -> None:
    one = refresher(SettlementRule.LAST_PRICE)
    tick_each_second(one, 75, 30, PRICE)
    payload = payload_at(one, 30)
    assert (payload["settlement"], payload["known_values"], payload["warnings"]) == ("last_price", 0, [])
    assert above(payload) == expected(30, Settlement())


def test_a_minute_before_the_close_nothing_is_known_yet() -> None:
    one = refresher()
    tick_each_second(one, 75, 60, PRICE)
    assert payload_at(one, 60)["known_values"] == 0
    assert above(payload_at(one, 60)) == expected(60, Settlement(SettlementRule.MEAN_60S))


def test_without_prices_in_the_last_minute_there_is_no_answer() -> None:
    one = refresher()
    tick_each_second(one, 100, 90, PRICE)
    payload = payload_at(one, 20)
    assert payload["known_mean"] is None
    assert "40 of the 40 one-second prices of the last minute are missing" in payload["reasons"]
    assert set(above(payload)) == {None}
    assert payload["status"] == "stale"
    assert one.answer is None


def test_a_stream_that_stops_within_the_minute_is_reported_and_then_not_answered() -> None:
    one = refresher()
    tick_each_second(one, 75, 45, PRICE)
    assert payload_at(one, 40)["reasons"] == []
    late = payload_at(one, 30)
    assert (late["known_values"], late["reasons"]) == (
        25,
        ["5 of the 30 one-second prices of the last minute are missing"],
    )
    assert None not in above(late)
    assert set(above(payload_at(one, 5))) == {None}


def test_a_gap_makes_the_answer_degraded() -> None:
    one = refresher()
    tick_each_second(one, 75, 55, PRICE)
    tick_each_second(one, 32, 30, PRICE)
    payload = payload_at(one, 30)
    assert payload["status"] == "degraded"
    assert payload["known_values"] == 30 - (55 - 10 - 32)


@pytest.mark.parametrize("shift", [-2.0, 0.9])
def test_a_clock_that_is_off_by_seconds_moves_the_known_mean_by_as_many_values(shift: float) -> None:
    exact, off = refresher(), refresher()
    for one, seconds in ((exact, 0.0), (off, shift)):
        tick_each_second(one, 75, 41, PRICE + 20, seconds)
        tick_each_second(one, 40, 31, PRICE, seconds)
    one, other = payload_at(exact, 30), payload_at(off, 30)
    assert other["known_values"] == one["known_values"]
    assert abs(other["known_mean"] - one["known_mean"]) <= 20 * (abs(shift) + 1) / 30


def test_in_the_last_second_59_values_decide() -> None:
    one = refresher()
    tick_each_second(one, 75, 1, PRICE + 15)
    one.add_tick(Tick(CLOSE - timedelta(seconds=0.5), PRICE))
    payload = payload_at(one, 0.3)
    assert (payload["ttc_seconds"], payload["known_values"]) == (1, 59)
    chance = dict(zip(payload["strikes"], above(payload), strict=True))
    assert chance[PRICE + 10] == pytest.approx(99.99)
    assert chance[PRICE + 20] == pytest.approx(0.01)


def test_the_file_has_the_basis_with_its_age_and_answers_by_it() -> None:
    one = refresher()
    now = CLOSE - timedelta(minutes=15)
    one.add_tick(Tick(now, PRICE))
    one.basis = BasisChoice(Basis(2.5, BasisSource.SETTLED, now - timedelta(minutes=15)), ("index: frozen",))
    payload = payload_at(one, 900)
    assert payload["basis"] == {
        "bps": 2.5,
        "source": "settled",
        "timestamp": "2026-07-01T13:30:00Z",
        "age_seconds": 900,
        "refused": ["index: frozen"],
    }
    assert payload["warnings"] == []
    assert above(payload) == expected(900, Settlement(SettlementRule.MEAN_60S, basis_bps=2.5))
    assert one.answer is not None
    assert one.answer["basis_bps"] == 2.5


def test_without_a_basis_there_is_a_warning_that_says_why() -> None:
    one = refresher()
    one.add_tick(Tick(CLOSE - timedelta(minutes=15), PRICE))
    one.basis = BasisChoice(None, ("index: no value in the last 15 minutes", "settled: none"))
    payload = payload_at(one, 900)
    assert (payload["basis"], payload["status"], payload["reasons"]) == (None, "ok", [])
    assert payload["warnings"] == [
        "no basis, the market's index may differ from this price: index: no value in the last 15 minutes; settled: none"
    ]


def test_a_basis_that_cannot_be_read_is_not_used_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    one = refresher()
    one.basis = BasisChoice(Basis(2.5, BasisSource.INDEX, CLOSE))

    class Pool:
        @asynccontextmanager
        async def connection(self) -> Any:
            raise psycopg.OperationalError("the server is gone")
            yield

    async def follow() -> None:
        async with asyncio.timeout(0.2):
            await bases.follow_bases(cast(Any, Pool()), [one], dict, asyncio.Event(), replayed=False)

    with pytest.raises(TimeoutError):
        asyncio.run(follow())
    assert one.basis == BasisChoice(None, ("it cannot be read: the server is gone",))


def test_no_basis_is_read_for_markets_of_the_last_price() -> None:
    one = refresher(SettlementRule.LAST_PRICE)

    async def follow() -> None:
        async with asyncio.timeout(0.1):
            await bases.follow_bases(cast(Any, None), [one], dict, asyncio.Event(), replayed=False)

    with pytest.raises(TimeoutError):
        asyncio.run(follow())
    assert one.basis is NOT_ESTIMATED
