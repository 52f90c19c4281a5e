"""Recordings of markets: what each shape is understood as, and which rows are rejected."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_previews import preview, quotes, rejected
from small_recordings import (
    CLOSES_AT,
    OPENS_AT,
    QUARTER,
    TICKERS,
    at,
    book,
    candle,
    candle_recording,
    candle_rows,
    index_value,
    level,
    market_rows,
    message,
    open_rows,
    quarter_rows,
    tick,
    tick_recording,
    up_down_rows,
    write,
)

from pipelines.domain.markets.contracts import MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError
from pipelines.ingestion.markets.checks import check_candles
from pipelines.ingestion.markets.recordings import read_recording


def test_candles_in_cents_become_exact_dollars(tmp_path: Path) -> None:
    rows = [candle(TICKERS[0], 59, bid=7, ask=93), candle(TICKERS[0], 60, bid=0, ask=100)]
    found = read_recording(candle_recording(tmp_path, rows))
    assert found.candles is not None
    frame, repeated = check_candles(found.candles, found.markets, found.rejections)
    first, last = frame.sort("ends_at").rows(named=True)
    assert (first["yes_bid_low"], first["yes_ask_high"], first["volume"]) == (Decimal("0.07"), Decimal("0.93"), 3)
    assert (last["yes_bid_close"], last["yes_ask_close"], last["ends_at"]) == (None, None, CLOSES_AT)
    assert repeated == 0


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"market_ticker": None}, "no ticker or no time"),
    ({"ts": None}, "no ticker or no time"),
    ({"market_ticker": "KXBTCD-26JUL2214-T1"}, "the market is described neither in the files nor in the database"),
    ({"ts": at(90)}, "time is not a whole minute"),
    ({"ts": CLOSES_AT + timedelta(minutes=1)}, "outside the time in which the market was open"),
    ({"ts": OPENS_AT - timedelta(minutes=1)}, "outside the time in which the market was open"),
    ({"yes_bid_high_cents": 101}, "bid outside 0 to 1 dollar, or finer than 0.0001"),
    ({"yes_bid_low_cents": -1}, "bid outside 0 to 1 dollar, or finer than 0.0001"),
    ({"yes_ask_low_cents": 0}, "ask outside 0 to 1 dollar, or finer than 0.0001"),
    ({"yes_bid_high_cents": 39}, "high below low, or open or close outside them"),
    ({"yes_ask_low_cents": 43}, "high below low, or open or close outside them"),
    (
        {f"yes_bid_{point}_cents": 42 for point in ("open", "high", "low", "close")},
        "bid not below the ask",
    ),
    ({"volume": -1}, "a negative or unreadable number of contracts"),
]


@pytest.mark.parametrize(("changes", "reason"), IMPOSSIBLE)
def test_an_impossible_candle_is_rejected_with_its_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    rows = [*candle_rows(), {**candle(TICKERS[0], 20), **changes}]
    del rows[19]
    report = preview(candle_recording(tmp_path, rows))
    assert rejected(report) == {reason: 1}
    assert report.candles.inserted == 60
    assert report.rejected[0].file == "candles.parquet"
    assert report.rejected[0].example.startswith("row 61: ")


def test_candles_of_one_minute_that_differ_are_all_rejected_and_repeated_ones_are_not(tmp_path: Path) -> None:
    rows = [*candle_rows(), candle(TICKERS[0], 20, bid=41), candle(TICKERS[0], 30)]
    report = preview(candle_recording(tmp_path, rows))
    assert rejected(report) == {"several different candles of one minute": 2}
    assert (report.candles.inserted, report.repeated) == (60, 1)


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (0, "candles dated at the opening of their market: times must be the ends of minutes"),
        (1, "no candle is dated at the close of its market, so that times may be the beginnings of minutes"),
    ],
)
def test_candles_dated_at_the_beginnings_of_minutes_are_refused(tmp_path: Path, shift: int, message: str) -> None:
    rows = [candle(TICKERS[0], minute) for minute in range(shift, 60)]
    with pytest.raises(MarketError, match=message):
        preview(candle_recording(tmp_path, rows))


MARKETS: list[tuple[dict[str, Any], str]] = [
    ({"floor_strike": None}, "no strike"),
    ({"close_time": None}, "no time of the close"),
    ({"result": None}, "no result"),
    ({"result": ""}, "no result"),
    ({"result": "maybe"}, "a contradictory or unknown market"),
    ({"floor_strike": 118_499.98}, "a contradictory or unknown market"),
    ({"event_ticker": "KXBTCD-26JUL2215"}, "a contradictory or unknown market"),
    ({"open_time": CLOSES_AT}, "a contradictory or unknown market"),
    ({"floor_strike": -118_499.99}, "a contradictory or unknown market"),
]


@pytest.mark.parametrize(("changes", "reason"), MARKETS)
def test_a_market_that_cannot_be_used_is_rejected_with_its_candles(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    first, second = market_rows()
    report = preview(candle_recording(tmp_path, markets=[{**first, **changes}, second]))
    found = rejected(report)
    assert found.pop("the market is described neither in the files nor in the database") == 60
    assert found == {reason: 1}
    assert (report.markets.inserted, report.candles.inserted) == (1, 1)


def test_two_markets_of_one_ticker_are_rejected(tmp_path: Path) -> None:
    rows = market_rows()
    report = preview(candle_recording(tmp_path, markets=[*rows, {**rows[0], "result": "no"}]))
    assert rejected(report)["several markets of one ticker"] == 2


def test_a_series_whose_strike_type_is_not_known_is_rejected(tmp_path: Path) -> None:
    rows = [
        {**row, "market_ticker": "KXBTC-26JUL2214-B118500", "event_ticker": "KXBTC-26JUL2214"}
        for row in market_rows()[:1]
    ]
    with pytest.raises(
        MarketError, match="nothing in it can be stored: 1 rows of m.csv: a contradictory or unknown market"
    ):
        preview(write(tmp_path / "m.csv", rows))


def test_updates_keep_the_last_of_an_instant_and_only_changes(tmp_path: Path) -> None:
    ticks = [
        tick(5, 40, 44),
        tick(6, 40, 44),
        tick(7, 41, 44, sequence_num=70),
        tick(7, 42, 44, sequence_num=71),
        tick(8, None, 44),
        tick(70, None, 44),
        tick(3600, 99, None),
    ]
    path = tick_recording(tmp_path, ticks)
    report = preview(path)
    assert (report.quotes.inserted, report.quotes_unchanged, report.superseded) == (4, 1, 1)
    assert rejected(report) == {"at or after the close of its market": 1}
    forty, twenty = Decimal(10), Decimal(20)
    assert quotes(path) == [
        (at(5), Decimal("0.40"), forty, Decimal("0.56"), twenty, None),
        (at(7), Decimal("0.42"), forty, Decimal("0.56"), twenty, None),
        (at(8), None, None, Decimal("0.56"), twenty, None),
        (at(70), None, None, Decimal("0.56"), twenty, None),
    ]


def test_ticker_messages_in_dollars_keep_tenths_of_a_cent(tmp_path: Path) -> None:
    write(
        tmp_path / "ticker.parquet",
        [message(0, 0.013, 0.014), message(1, 0.0, 1.0, yes_bid_size_fp=0.0, yes_ask_size_fp=0.0)],
    )
    write(tmp_path / "markets.csv", quarter_rows())
    assert quotes(tmp_path) == [
        (at(2700), Decimal("0.013"), Decimal("10.25"), Decimal("0.986"), Decimal("20.50"), Decimal("100.00")),
        (at(2701), None, None, None, None, Decimal("101.00")),
    ]
    market = read_recording(tmp_path).markets[QUARTER].market
    assert (market.strike_type, market.result, market.status) == (
        StrikeType.GREATER_OR_EQUAL,
        MarketResult.YES,
        MarketStatus.FINALIZED,
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([message(1, 0.01305, 0.02)], "bid outside 0 to 1 dollar, or finer than 0.0001"),
        ([message(1, 0.5, 0.4)], "bid not below the ask"),
        ([message(1, 0.5, 0.5)], "bid not below the ask"),
        ([message(1, 0.5, 1.2)], "ask outside 0 to 1 dollar, or finer than 0.0001"),
        ([message(1, 0.5, 0.6, yes_bid_size_fp=0.0)], "a price without contracts"),
        ([message(1, 0.5, 0.6, yes_ask_size_fp=-1.0)], "a negative or unreadable number of contracts"),
        ([message(1, 0.5, 0.6, yes_ask_size_fp=float("nan"))], "a negative or unreadable number of contracts"),
        ([message(1, 0.5, 0.6, recv_ts=None)], "no ticker or no time"),
    ],
)
def test_an_impossible_quote_is_rejected_with_its_reason(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str
) -> None:
    write(tmp_path / "ticker.parquet", [message(0, 0.5, 0.6), *rows])
    write(tmp_path / "markets.csv", quarter_rows())
    report = preview(tmp_path)
    assert rejected(report) == {reason: 1}
    assert report.quotes.inserted == 1


@pytest.mark.parametrize(("price", "expected"), [("0.5", Decimal("0.5")), ("0,5", None), ("", None), ("half", None)])
def test_prices_that_are_texts_are_read_or_rejected(tmp_path: Path, price: str, expected: Decimal | None) -> None:
    write(tmp_path / "ticker.parquet", [message(0, "0.4", "0.6"), message(1, price, "0.6")])
    write(tmp_path / "markets.csv", quarter_rows())
    found = [row[1] for row in quotes(tmp_path)]
    assert found == [Decimal("0.4"), *([expected] if expected else [])]


def test_books_have_their_own_bids_on_both_sides(tmp_path: Path) -> None:
    write(tmp_path / "book.parquet", [book(0, 62.0, 37.0), book(1, None, 37.0), book(2, 62.0, None)])
    write(tmp_path / "markets.csv", quarter_rows())
    assert [row[1:5] for row in quotes(tmp_path)] == [
        (Decimal("0.62"), Decimal(10), Decimal("0.37"), Decimal("5.5")),
        (None, None, Decimal("0.37"), Decimal("5.5")),
        (Decimal("0.62"), Decimal(10), None, None),
    ]


def test_quotes_of_one_instant_that_differ_are_rejected_without_an_order(tmp_path: Path) -> None:
    write(
        tmp_path / "book.parquet", [book(0, 62.0, 37.0), book(0, 61.0, 37.0), book(1, 60.0, 37.0), book(1, 60.0, 37.0)]
    )
    write(tmp_path / "markets.csv", quarter_rows())
    report = preview(tmp_path)
    assert rejected(report) == {"several different quotes of one instant": 2}
    assert (report.quotes.inserted, report.quotes_unchanged) == (1, 1)


def test_books_by_level_describe_their_markets_and_the_index_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "b.parquet", [level(0, 79.0, 82.0), index_value(0), level(1, 80.0, None), index_value(1)])
    report = preview(path)
    assert (report.quotes.inserted, report.index_rows, report.rows_rejected) == (2, 2, 0)
    one = read_recording(path).markets[TICKERS[0]]
    assert (one.market.floor_strike, one.market.closes_at) == (Decimal("118499.99"), CLOSES_AT)
    assert (one.market.result, one.settlement) == (None, SettlementRule.MEAN_60S)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strike": 118_750.0}, "strike 118750.0 contradicts its ticker"),
        ({"expiration_time": "2026-07-22 18:03:00+00:00"}, "expected one time, 5 minutes after a quarter of an hour"),
    ],
)
def test_books_by_level_that_contradict_their_tickers_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        preview(write(tmp_path / "b.parquet", [level(0, 79.0, 82.0, **changes)]))


def write_up_down(folder: Path, rows: Sequence[dict[str, Any]], opens: Sequence[dict[str, Any]]) -> Path:
    write(folder / "quotes.parquet", rows)
    write(folder / "hours.csv", opens)
    return folder


def test_up_or_down_markets_settle_on_the_last_price_of_their_hour(tmp_path: Path) -> None:
    report = preview(write_up_down(tmp_path, up_down_rows(), open_rows()))
    assert (report.exchange, report.symbols, report.markets.inserted) == ("polymarket", ("BTC",), 12)
    one = read_recording(tmp_path).markets[f"{10**30}"]
    assert (one.market.opens_at, one.market.closes_at, one.settlement) == (
        OPENS_AT,
        CLOSES_AT,
        SettlementRule.LAST_PRICE,
    )
    assert (one.market.floor_strike, one.market.result) == (Decimal("118000.0"), MarketResult.NO)


def test_hours_of_another_zone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match=r"hours.csv: the hours may not be in UTC: in 11 hours"):
        preview(write_up_down(tmp_path, up_down_rows(), open_rows(shift=1)))


def test_quotes_that_are_not_of_up_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "outcome": "DOWN" if row["outcome"] == "UP" else "UP"} for row in up_down_rows()]
    with pytest.raises(MarketError, match="the last bids do not show that the contracts are on up"):
        preview(write_up_down(tmp_path, rows, open_rows()))


def test_up_or_down_markets_without_strike_or_result_are_rejected(tmp_path: Path) -> None:
    rows = [{**row, "outcome": None} if row["token_id"] == f"{10**30 + 3}" else row for row in up_down_rows()]
    report = preview(write_up_down(tmp_path, rows, open_rows()[:-1]))
    assert rejected(report) == {
        "market without a result": 1,
        "market without the opening price of its hour": 1,
        "the market is described neither in the files nor in the database": 4,
    }


def test_up_or_down_quotes_need_their_hours(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match="expected one file of opening prices of hours beside it, found 0"):
        preview(write(tmp_path / "quotes.parquet", up_down_rows()))


def test_a_market_without_opening_time_and_quotes_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "ticker.parquet", [message(0, 0.5, 0.6)])
    other = quarter_rows(ticker="KXBTC15M-26JUL221415-15", close_time="2026-07-22T18:15:00Z")
    write(tmp_path / "markets.csv", [*quarter_rows(), *other])
    report = preview(tmp_path)
    assert rejected(report) == {"a market with neither an opening time nor a quote or candle": 1}
    assert report.rejected[0].example == "row 2: ticker KXBTC15M-26JUL221415-15"


def test_a_result_that_contradicts_the_value_that_it_settled_on_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "ticker.parquet", [message(0, 0.5, 0.6)])
    write(tmp_path / "markets.csv", quarter_rows(settlement_value=118_512.33))
    with pytest.raises(MarketError, match="1 rows of markets.csv: a contradictory or unknown market"):
        preview(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([None, 40, 41]), st.sampled_from([None, 44, 45])), min_size=1
    )
)
def test_each_read_row_is_stored_left_out_or_rejected_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int | None, int | None]]
) -> None:
    path = tick_recording(
        tmp_path_factory.mktemp("r"),
        [tick(90.0 * seconds, bid, ask) for seconds, bid, ask in rows] + [tick(0, 40, None)],
    )
    report = preview(path)
    accounted = report.quotes.inserted + report.quotes_unchanged + report.superseded + report.rows_rejected
    assert accounted + report.markets.inserted == report.rows_read
