"""The reader of a strike table assesses file and quotes by its own clock."""

import doctest
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sample_strike_tables import ABOVE, RANGES, UP_OR_DOWN, strike_table, write_strike_table

from pipelines.domain.markets.contracts import Side
from pipelines.domain.models.freshness import Cause, Status
from pipelines.live import strike_table_reader
from pipelines.live.strike_table_reader import Row, TableName, TableView, read_table, table_names, table_of

GOLDEN = Path(__file__).parent / "strike_tables"
NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
NAME = TableName("BTC", ABOVE)


def assess(payload: dict[str, Any], after_seconds: float = 0.0) -> TableView:
    name = TableName(payload["symbol"], payload["series_ticker"])
    return table_of(name, orjson.dumps(payload), NOW + timedelta(seconds=after_seconds))


def golden(name: str) -> TableView:
    payload = json.loads((GOLDEN / f"{name}.json").read_text())
    written = datetime.fromisoformat(payload["last_updated"])
    return table_of(TableName("BTC", payload["series_ticker"]), orjson.dumps(payload), written)


def quotes(row: Row) -> list[Any]:
    return [row.bid, row.ask, row.bid_size, row.ask_size, row.pooled, row.edge]


def test_tables_of_all_series_are_named_by_their_files(tmp_path: Path) -> None:
    names = table_names({"BTC": ["KXBTCD", "KXBTC15M"], "ETH": [], "SOL": ["KXSOLD"]})
    assert [str(name) for name in names] == ["BTC KXBTCD", "BTC KXBTC15M", "SOL KXSOLD"]
    assert [name.path(tmp_path).name for name in names] == [
        "btc_strike_table.json",
        "btc_kxbtc15m_strike_table.json",
        "sol_strike_table.json",
    ]


def test_rows_are_of_yes_and_the_highest_strike_is_first() -> None:
    view = golden("open")
    assert (view.freshness.status, view.reasons, view.ttc_seconds, view.state_word) == (Status.OK, (), 1245, "open")
    assert [row.label for row in view.rows] == ["119,000", "118,750", "118,500", "118,250"]
    first = view.rows[2]
    assert (first.bid, first.ask, first.bid_size, first.ask_size) == (64, 66, 52, 410)
    assert (first.model, first.pooled, first.quote_age_seconds) == (66.1, 65.55, 0.64)
    assert first.edge is not None
    assert (first.edge.side, first.edge.points, first.edge.fee) == (Side.YES, -2.03, 1.58)
    assert first.distance_usd == pytest.approx(-112.4)
    one_sided = view.rows[1]
    assert (one_sided.bid, one_sided.ask, one_sided.pooled, one_sided.edge) == (25.5, None, None, None)
    assert one_sided.problems == ("no bids for NO",)


def test_probabilities_of_the_active_side_are_turned_to_yes() -> None:
    view = golden("ranges")
    assert [row.label for row in view.rows] == ["118,750", "118,500 to 118,749.99", "below 118,500"]
    assert [row.model for row in view.rows] == [19.1, 41.2, 39.7]
    assert [row.pooled for row in view.rows] == [pytest.approx(19.54), 42.35, pytest.approx(39.35)]
    assert [row.holds_price for row in view.rows] == [False, True, False]
    assert [row.distance_usd for row in view.rows] == [pytest.approx(137.6), 0.0, pytest.approx(-112.4)]


def test_old_quotes_vanish_and_their_age_stays() -> None:
    old = golden("open").rows[0]
    assert quotes(old) == [None] * 6
    assert (old.quote_age_seconds, old.model) == (4.1, 6.8)


@pytest.mark.parametrize(
    ("age_ms", "after_seconds", "is_shown"), [(500, 1.5, True), (500, 1.6, False), (0, 2.1, False)]
)
def test_quotes_age_with_the_file(age_ms: int, after_seconds: float, is_shown: bool) -> None:
    rows = assess(strike_table(95_100.0, NOW, quote_age_ms=age_ms), after_seconds).rows
    assert {row.ask is not None for row in rows} == {is_shown}
    assert [row.quote_age_seconds for row in rows] == pytest.approx([age_ms / 1_000 + after_seconds] * 21)
    assert None not in {row.model for row in rows}


@pytest.mark.parametrize("state", ["halted: the exchange does not trade", "closed", "unavailable: timed out"])
def test_a_market_that_is_not_open_has_no_quotes_whatever_its_file_says(state: str) -> None:
    view = assess(strike_table(95_100.0, NOW) | {"market_status": state})
    word, _, reason = state.partition(": ")
    assert (view.state_word, view.reasons) == (word, (reason,) if reason else ())
    assert [quotes(row) for row in view.rows] == [[None] * 6] * 21


def test_a_market_that_is_not_active_has_no_quotes_whatever_its_row_says() -> None:
    first, *others = strike_table(95_100.0, NOW)["strikes"]
    view = assess(strike_table(95_100.0, NOW, strikes=[first | {"market_status": "inactive"}, *others]))
    assert [quotes(row) == [None] * 6 for row in view.rows].count(True) == 1


def test_an_old_price_gives_no_edge() -> None:
    fresh, stale = strike_table(95_100.0, NOW), strike_table(95_100.0, NOW, status="stale", price_age_ms=9_000)
    assert any(row.edge is not None for row in assess(fresh).rows)
    view = assess(stale)
    assert (view.freshness.status, view.freshness.cause) == (Status.STALE, Cause.PRICES)
    assert {row.edge for row in view.rows} == {None}
    assert any(row.ask is not None for row in view.rows)


def test_a_clock_behind_the_file_gives_no_edge() -> None:
    view = assess(strike_table(95_100.0, NOW), -60.0)
    assert view.freshness.cause is Cause.CLOCK
    assert {row.edge for row in view.rows} == {None}


def test_a_table_that_is_not_written_never_looks_fresh() -> None:
    view = assess(strike_table(95_100.0, NOW), 65.0)
    assert (view.freshness.status, view.reasons) == (
        Status.UNWRITTEN,
        ("the file is not being written: it is 65 s old",),
    )
    assert not view.judge(None).is_written


def test_a_failing_feed_is_no_problem_of_the_file() -> None:
    judged = assess(strike_table(95_100.0, NOW, market_status="unavailable: timed out")).judge(None)
    assert (judged.is_written, judged.unavailable, judged.title) == (True, "timed out", "BTC KXBTCD")
    for state in ("open", "halted", "closed", "no event"):
        assert assess(strike_table(95_100.0, NOW, market_status=state)).judge(None).unavailable is None
    late = assess(strike_table(95_100.0, NOW, market_status="unavailable: timed out"), 65.0).judge(None)
    assert (late.is_written, late.unavailable) == (False, None), "the session ended: the file says it"


def test_the_reason_of_a_session_that_ended_is_shown_once() -> None:
    ended = {"market_status": "unavailable: session 4 ended", "status": "stale", "reasons": ["session 4 ended"]}
    view = assess(strike_table(95_100.0, NOW) | ended)
    assert view.reasons == ("session 4 ended", "its session will not refresh it")


def test_a_missing_table_and_those_of_another_kind_have_no_rows(tmp_path: Path) -> None:
    missing = read_table(tmp_path, NAME, NOW)
    assert (missing.freshness.status, missing.rows, missing.payload) == (Status.MISSING, (), None)
    write_strike_table(tmp_path, strike_table(95_100.0, NOW, series=RANGES))
    other = read_table(tmp_path, NAME, NOW)
    assert (other.freshness.status, other.rows) == (Status.UNREADABLE, ())
    assert other.reasons == ("the file of BTC KXBTCD is not a strike table (ValueError: it is of BTC KXBTC)",)
    write_strike_table(tmp_path, strike_table(95_100.0, NOW, series=UP_OR_DOWN), UP_OR_DOWN)
    view = read_table(tmp_path, TableName("BTC", UP_OR_DOWN, is_first=False), NOW)
    assert [row.label for row in view.rows] == ["95,007.5"]


def test_an_event_of_more_than_an_hour_has_its_time_to_close() -> None:
    payload = strike_table(95_100.0, NOW, ttc=90_754, market_close="2026-03-05T12:00:00Z")
    assert assess(payload).ttc_seconds == 90_754


def test_the_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(strike_table_reader) == (0, 1)
