"""Candles of the exchange's messages, in their three shapes."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from market_messages import FIRST_MINUTE, candle_2025, candle_2026, candle_historical

from pipelines.domain.markets.candles import MINUTE, Candle, MarketCandles, MinuteRange, PriceSpan
from pipelines.errors import MarketError
from pipelines.markets.candle_messages import candle_requests, read_candles, read_candles_of

FIRST = datetime(2026, 3, 21, 9, 1, tzinfo=UTC)
HOUR = MinuteRange(FIRST, FIRST + 59 * MINUTE)


def exact(body: Any) -> Any:
    """A message as the client parses it."""
    return json.loads(json.dumps(body), parse_float=Decimal)


def candles(*rows: Any) -> MarketCandles:
    [found] = read_candles(exact([{"market_ticker": "A", "candlesticks": list(rows)}]), ["A"], HOUR)
    return found


def dollars(*prices: str | None) -> PriceSpan:
    return PriceSpan(*(None if price is None else Decimal(price) for price in prices))


def prices(*values: Any, suffix: str = "_dollars") -> dict[str, Any]:
    return dict(zip((f"{name}{suffix}" for name in ("open", "high", "low", "close")), values, strict=True))


def test_all_shapes_are_the_same_candle() -> None:
    expected = Candle(
        FIRST,
        dollars("0.17", "0.18", "0.16", "0.17"),
        dollars("0.21", "0.22", "0.20", "0.22"),
        Decimal(3),
        Decimal(5),
    )
    for row in (candle_2025(), candle_2026(), candle_historical()):
        assert candles(row) == MarketCandles("A", (expected,))


def test_dollars_count_where_a_message_has_both() -> None:
    both = {**prices(17, 18, 16, 17, suffix=""), **prices("0.1750", "0.1800", "0.1600", "0.1725")}
    [one] = candles(candle_2026(yes_bid=both, volume=3, volume_fp="3.25")).candles
    assert one.yes_bid == dollars("0.175", "0.18", "0.16", "0.1725")
    assert one.volume == Decimal("3.25")


@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        (prices("0.0000", "0.1800", "0.0000", "0.1700"), prices("1.0000", "1.0000", "0.2000", "0.2200")),
        (prices(0, 18, 0, 17, suffix=""), prices(100, 100, 20, 22, suffix="")),
        (prices(None, "0.18", None, "0.17"), prices(None, None, "0.20", "0.22")),
    ],
)
def test_zero_bids_asks_of_a_dollar_and_null_are_no_orders(bid: dict[str, Any], ask: dict[str, Any]) -> None:
    [one] = candles(candle_2026(yes_bid=bid, yes_ask=ask)).candles
    assert one.yes_bid == dollars(None, "0.18", None, "0.17")
    assert one.yes_ask == dollars(None, None, "0.20", "0.22")


def test_parts_of_an_answer_come_together_in_order_and_only_of_the_markets_asked_for() -> None:
    rows = exact(
        [
            {"market_ticker": "B", "candlesticks": [candle_2026(FIRST_MINUTE + 60)]},
            {"market_ticker": "OTHER", "candlesticks": [candle_2026()]},
            {"market_ticker": "C", "candlesticks": None},
            {"market_ticker": "B", "candlesticks": [candle_2026()]},
        ]
    )
    found = {one.ticker: one for one in read_candles(rows, ["A", "B", "C"], HOUR)}
    assert [one.ends_at for one in found["B"].candles] == [FIRST, FIRST + MINUTE]
    assert found["C"] == MarketCandles("C")
    assert [(one.ticker, one.reason) for one in found["A"].refused] == [("A", "not in the exchange's answer")]
    assert set(found) == {"A", "B", "C"}


SHOWN = "candle 2026-03-21 09:01:00: "


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (candle_2026(yes_bid=prices("0.17", "0.16", "0.18", "0.17")), "yes_bid open 0.17, expected from low 0.18"),
        (candle_2026(yes_bid=prices("0.19", "0.18", "0.16", "0.17")), "yes_bid open 0.19, expected from low 0.16"),
        (candle_2026(yes_ask=prices("0.21", "1.20", "0.20", "0.22")), "yes_ask.high_dollars '1.20': expected 0 to 1"),
        (candle_2025(yes_ask=prices(21, 120, 20, 22, suffix="")), "yes_ask.high 120: expected 0 to 100 cents"),
        (candle_2025(yes_ask=prices(21, 22.5, 20, 22, suffix="")), "yes_ask.high 22.5: expected 0 to 1"),
        (candle_2026(yes_bid=prices("0.17", "x", "0.16", "0.17")), "yes_bid.high_dollars 'x': expected a number"),
        (candle_2026(yes_bid=prices("0.17", True, "0.16", "0.17")), "yes_bid.high_dollars True: expected a number"),
        (candle_2026(yes_bid={"open_dollars": "0.1"}), "yes_bid.high_dollars and yes_bid.high missing"),
        (candle_2026(yes_bid=None), "yes_bid None: "),
        (candle_2026(volume_fp="-1.00"), "volume -1.00, expected a multiple of 0.01, 0 or more"),
        (candle_2026(open_interest_fp=None), "open_interest_fp and open_interest missing"),
        (candle_2026(volume_fp="1e3"), "volume_fp '1e3': expected a number"),
    ],
)
def test_a_bad_candle_is_refused_with_its_field_and_the_others_come(row: Any, reason: str) -> None:
    found = candles(row, candle_2026(FIRST_MINUTE + 60))
    assert [one.ends_at for one in found.candles] == [FIRST + MINUTE]
    [refused] = found.refused
    assert refused.ticker == "A"
    assert refused.reason.startswith(f"{SHOWN}{reason}")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (candle_2026(FIRST_MINUTE + 1), "candle 2026-03-21 09:01:01: end 2026-03-21 09:01:01.000000, expected a whole"),
        (
            candle_2026(FIRST_MINUTE - 60),
            "candle 2026-03-21 09:00:00: expected 2026-03-21 09:01 to 2026-03-21 10:00 UTC",
        ),
        (candle_2026(10**30), f"candle {10**30}: end_period_ts {10**30}: Input should be"),
        (candle_2026(FIRST_MINUTE * 1000), f"candle {FIRST_MINUTE * 1000}: end_period_ts {FIRST_MINUTE * 1000}: Input"),
        (candle_2026("2026-03-21T09:01:00Z"), "candle 2026-03-21T09:01:00Z: end_period_ts '2026-03-21T09:01:00Z': "),
        ("text", "candle None: expected a JSON object, received 'text'"),
    ],
)
def test_a_candle_of_another_time_is_refused(row: Any, reason: str) -> None:
    found = candles(row)
    assert found.candles == ()
    assert found.refused[0].reason.startswith(reason)


def test_a_minute_that_comes_twice_is_taken_once_or_refused() -> None:
    assert candles(candle_2026(), candle_2025()).refused == ()
    assert len(candles(candle_2026(), candle_2025()).candles) == 1
    found = candles(candle_2026(), candle_2026(volume_fp="4"), candle_2026())
    assert found.candles == ()
    assert [one.reason for one in found.refused] == [f"{SHOWN}comes twice, with different values"]
    unreadable = candles(candle_2026(), candle_2026(volume_fp="x"))
    assert unreadable.candles == ()


def test_an_answer_of_another_shape_or_market_is_an_error() -> None:
    with pytest.raises(MarketError, match=r"^markets.0: market_ticker missing$"):
        read_candles([{"candlesticks": []}], ["A"], HOUR)
    with pytest.raises(MarketError, match=r"^A: candlesticks missing$"):
        read_candles_of([{"ticker": "A"}], "A", HOUR)
    with pytest.raises(MarketError, match=r"^A: received candles of B$"):
        read_candles_of([{"ticker": "B", "candlesticks": []}], "A", HOUR)


def test_requests_stay_within_the_limits_and_ask_for_each_minute_once() -> None:
    tickers = [f"T{i}" for i in range(230)]
    week = MinuteRange(FIRST, FIRST + timedelta(minutes=10_139))
    asked = []
    for request in candle_requests(week, tickers):
        chunk = request["market_tickers"].split(",")
        minutes = (request["end_ts"] - request["start_ts"]) // 60 + 1
        assert len(chunk) <= 100
        assert len(chunk) * minutes <= 10_000
        assert request["period_interval"] == 1
        asked += [(ticker, request["start_ts"] + 60 * i) for ticker in chunk for i in range(minutes)]
    assert len(asked) == len(set(asked)) == 230 * 10_140
    assert [request["end_ts"] - request["start_ts"] for request in candle_requests(week)] == [
        4_999 * 60,
        4_999 * 60,
        139 * 60,
    ]
    assert candle_requests(HOUR, []) == []
    assert [len(one["market_tickers"].split(",")) for one in candle_requests(HOUR, tickers)] == [100, 100, 30]
