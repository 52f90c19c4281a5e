"""The strike table: domain.md's contract of the original first, then quotes, fees, edges and what may not be shown."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strike_tables import CLOSE, MID, NOW, PRICE, board, prices, quoted, state, table, written

from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.fees import FeeTerms
from pipelines.domain.models.ladder import ladder_strikes_usd
from pipelines.domain.models.strike_table import ROWS, ladder_markets, market_status, strike_table
from pipelines.domain.prices.ticks import Tick

ORIGINAL = [
    "symbol",
    "current_price",
    "ttc",
    "broker",
    "event_ticker",
    "market_title",
    "strike_tier",
    "market_status",
    "last_updated",
    "strikes",
    "momentum",
    "fingerprint",
]
ORIGINAL_STRIKE = [
    "strike",
    "buffer",
    "buffer_pct",
    "probability",
    "yes_ask",
    "no_ask",
    "yes_diff",
    "no_diff",
    "volume",
    "ticker",
    "active_side",
]


def row(found: dict[str, Any], strike: float) -> dict[str, Any]:
    return next(one for one in found["strikes"] if one["strike"] == strike)


def test_the_fields_of_the_original_come_first_with_their_meaning() -> None:
    below, above = quoted("80249.99", **prices("0.55", "0.59")), quoted("80499.99", **prices("0.17", "0.21"))
    found = table(board(below, above), [0.6012, 0.1533])
    assert list(found)[: len(ORIGINAL)] == ORIGINAL
    assert (found["symbol"], found["current_price"], found["ttc"], found["broker"]) == ("BTC", PRICE, 1200, "kalshi")
    assert (found["market_status"], found["strike_tier"], found["last_updated"]) == (
        "open",
        250,
        "2026-03-21T09:40:00.000Z",
    )
    assert found["momentum"] == {
        "weighted_score": 0.0123,
        "deltas": {
            "delta_1m": 0.01,
            "delta_2m": 0.02,
            "delta_3m": None,
            "delta_4m": 0.04,
            "delta_15m": 0.15,
            "delta_30m": 0.3,
        },
    }
    first, second = found["strikes"]
    assert list(first)[: len(ORIGINAL_STRIKE)] == list(second)[: len(ORIGINAL_STRIKE)] == ORIGINAL_STRIKE
    # Below the price: p is P(yes). 60.12 - 59, and 100 - 60.12 - 45.
    assert (first["strike"], first["buffer"], first["buffer_pct"]) == (80_250, 62.5, 0.0778)
    assert (first["active_side"], first["probability"], first["yes_ask"], first["no_ask"]) == ("yes", 60.12, 59, 45)
    assert (first["yes_diff"], first["no_diff"]) == (1.12, -5.12)
    # Above it: p is P(no). 100 - 84.67 - 21, and 84.67 - 83.
    assert (second["active_side"], second["probability"], second["yes_ask"], second["no_ask"]) == ("no", 84.67, 21, 83)
    assert (second["yes_diff"], second["no_diff"]) == (-5.67, 1.67)
    assert (second["volume"], second["ticker"]) == (12.25, "KXBTCD-26MAR2106-T80499.99")


def test_edges_are_after_the_fee_and_from_the_pooled_probability() -> None:
    one = quoted("80249.99", **prices("0.48", "0.50"), yes_bid_size_fp="3.50", yes_ask_size_fp="7.00")
    found = row(table(board(one), [0.60]), 80_250)
    # Half of the log odds of 0.49 and of 0.60.
    odds = (0.49 / 0.51 * 0.6 / 0.4) ** 0.5
    pooled = 100 * odds / (1 + odds)
    # 0.07 * 0.5 * 0.5 = 0.0175, and 0.07 * 0.52 * 0.48 = 0.017472, rounded up to a hundredth of a cent.
    assert (found["fee_yes"], found["fee_no"]) == (1.75, 1.75)
    assert found["pooled_probability"] == pytest.approx(pooled, abs=1e-4)
    assert found["edge_yes"] == pytest.approx(pooled - 50 - 1.75, abs=1e-4)
    assert found["edge_no"] == pytest.approx(100 - pooled - 52 - 1.75, abs=1e-4)
    assert (found["yes_bid_size"], found["no_ask_size"]) == (3.5, 3.5)
    assert (found["no_bid_size"], found["yes_ask_size"]) == (7, 7)


def test_without_a_served_pool_the_mid_is_the_probability_and_no_edge_is_positive() -> None:
    found = table(board(quoted("80249.99", **prices("0.48", "0.50"))), [0.60], MID)
    one = row(found, 80_250)
    assert found["pool"] == {"served": "mid", "reason": "120 settled events, 200 are needed"}
    assert (one["pooled_probability"], one["probability"]) == (49, 60)
    assert (one["edge_yes"], one["edge_no"]) == (49 - 50 - 1.75, 51 - 52 - 1.75)


def test_each_market_is_pooled_with_its_own_mid() -> None:
    without_bids, wide = prices("0", "1"), prices("0.10", "0.55")
    markets = [
        quoted("80249.99", **prices("0.48", "0.50")),
        quoted("80299.99", **without_bids),
        quoted("80349.99", **wide),
        quoted("80399.99", **prices("0.30", "0.34")),
        quoted("80449.99", **prices("0.24", "0.28")),
    ]
    chances = [0.60, 0.50, 0.45, nan, 0.25]
    together = table(board(*markets), chances)
    alone = [table(board(one), [chance])["strikes"][0] for one, chance in zip(markets, chances, strict=True)]
    assert [row(together, one["strike"])["pooled_probability"] for one in alone] == [
        one["pooled_probability"] for one in alone
    ]
    assert [one["pooled_probability"] is None for one in alone] == [False, True, True, True, False]
    assert row(table(board(*markets), chances, MID), 80_400)["pooled_probability"] == 100 - 32


def test_equal_quotes_of_two_series_have_the_fee_of_each() -> None:
    of = board(quoted("80249.99", **prices("0.48", "0.50")))
    halved = replace(of, fee_terms=FeeTerms(multiplier=Decimal("0.5")))
    found = [row(table(each, [0.60]), 80_250) for each in (of, halved, of)]
    assert [one["fee_yes"] for one in found] == [1.75, 0.88, 1.75]
    assert found[1]["edge_yes"] - found[0]["edge_yes"] == pytest.approx(1.75 - 0.88)
    assert found[0] == found[2]


@given(st.integers(1, 98), st.integers(1, 20), st.floats(0.001, 0.999), st.booleans())
def test_both_edges_are_never_positive_at_once(bid: int, spread: int, chance: float, above: bool) -> None:
    ask = min(99, bid + spread)
    one = quoted("80499.99" if above else "80249.99", **prices(f"{bid / 100:.2f}", f"{ask / 100:.2f}"))
    [found] = table(board(one), [chance])["strikes"]
    assert ask == bid or min(found["edge_yes"], found["edge_no"]) < 0
    middle = (bid + ask) / 2
    yes = found["pooled_probability"] if found["active_side"] == "yes" else 100 - found["pooled_probability"]
    assert ask == bid or min(middle, 100 * chance) - 1e-3 <= yes <= max(middle, 100 * chance) + 1e-3


def test_a_strike_is_matched_in_cents_and_every_type_has_its_own_meaning() -> None:
    markets = (
        quoted("80199.99"),
        quoted("80200", strike_type="greater_or_equal", ticker="KXBTC15M-26MAR210600-00"),
        quoted("80200", strike_type="between", cap_strike=80_299.99, ticker="KXBTC-26MAR2106-B80250"),
        quoted("80400", strike_type="between", cap_strike=80_499.99, ticker="KXBTC-26MAR2106-B80450"),
        quoted("1", strike_type="less", floor_strike=None, cap_strike=80_350, ticker="KXBTC-26MAR2106-T80350"),
        quoted("80650.005"),
    )
    found = {one["ticker"].partition("-")[2]: one for one in table(board(*markets), [0.6] * 6)["strikes"]}
    assert [(one["strike"], one["active_side"], one["strike_type"]) for one in found.values()] == [
        (80_200, "no", "between"),
        (80_350, "yes", "less"),
        (80_400, "no", "between"),
        (80_200, "yes", "greater"),
        (80_200, "yes", "greater_or_equal"),
        (80_650.01, "no", "greater"),
    ]
    assert found["26MAR2106-T80350"]["floor_strike"] is None
    assert found["26MAR2106-T80199.99"]["floor_strike"] == 80_199.99
    # NO of the range is the active side: p is P(no).
    assert (found["26MAR2106-B80250"]["probability"], found["26MAR2106-B80250"]["yes_probability"]) == (40, 60)


def test_the_21_nearest_come_first_to_last() -> None:
    markets = [quoted(f"{strike - 0.01:.2f}") for strike in range(70_000, 90_001, 250)]
    found = table(board(*markets), [0.5] * len(markets))["strikes"]
    buffers = [one["buffer"] for one in found]
    assert len(found) == ROWS
    assert buffers == sorted(buffers)
    assert {one["strike"] for one in found} == set(range(77_750, 82_751, 250))


NULLED = (
    "yes_ask",
    "no_ask",
    "yes_bid",
    "no_bid",
    "yes_diff",
    "no_diff",
    "fee_yes",
    "fee_no",
    "edge_yes",
    "edge_no",
    "yes_ask_size",
    "pooled_probability",
)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"failure": "markets: timed out"}, "unavailable: markets: timed out"),
        ({"trading": False}, "halted: the exchange does not trade"),
        ({"closes_at": NOW}, "closed"),
    ],
)
def test_quotes_are_null_when_the_market_is_not_open(changes: dict[str, Any], status: str) -> None:
    age_ms = 2_001 if "failure" in changes else 100
    found = table(board(quoted("80249.99", age_ms), **changes), [0.6])
    assert found["market_status"] == status
    [one] = found["strikes"]
    assert [one[name] for name in NULLED] == [None] * len(NULLED)
    assert (one["probability"], one["ticker"], one["volume"]) == (60, "KXBTCD-26MAR2106-T80249.99", 12.25)


def test_a_failing_feed_shows_its_last_quotes_for_two_seconds_only() -> None:
    for age_ms, shown in ((2_000, True), (2_001, False)):
        found = table(board(quoted("80249.99", age_ms), failure="timed out"), [0.6])
        assert (found["strikes"][0]["edge_yes"] is not None) is shown
        assert found["strikes"][0]["quote_age_ms"] == age_ms


def test_one_old_quote_among_fresh_ones_gives_no_edge() -> None:
    found = table(board(quoted("80249.99", 5_000), quoted("80499.99", 100)), [0.6, 0.2])
    assert found["market_status"] == "open"
    assert row(found, 80_250)["yes_ask"] is None
    assert row(found, 80_500)["yes_ask"] == 21


def test_a_halted_market_has_no_quotes_while_the_others_do() -> None:
    found = table(board(quoted("80249.99", status="inactive"), quoted("80499.99")), [0.6, 0.2])
    assert found["market_status"] == "open"
    assert (row(found, 80_250)["yes_ask"], row(found, 80_250)["market_status"]) == (None, "inactive")
    assert row(found, 80_500)["yes_ask"] == 21
    halted = table(board(quoted("80249.99", status="inactive")), [0.6])
    assert halted["market_status"] == "halted: the markets are inactive"


@pytest.mark.parametrize(
    ("quotes", "problem", "shown"),
    [
        (prices("0.60", "0.55"), "crossed", {"yes_ask": 55, "no_ask": 40}),
        (prices("0.60", "0.60"), "locked", {"yes_ask": 60, "no_ask": 40}),
        (prices("0.10", "0.55"), "spread of 45 cents", {"yes_ask": 55, "no_ask": 90}),
        (prices("0.10", "1"), "no bids for NO", {"yes_ask": None, "no_ask": 90}),
        (prices("0", "1"), "no bids", {"yes_ask": None, "no_ask": None}),
    ],
)
def test_crossed_wide_one_sided_and_empty_books_give_no_edge(
    quotes: dict[str, str], problem: str, shown: dict[str, Any]
) -> None:
    [one] = table(board(quoted("80249.99", **quotes)), [0.6])["strikes"]
    assert {name: one[name] for name in shown} == shown
    assert (one["edge_yes"], one["edge_no"], one["pooled_probability"]) == (None, None, None)
    assert any(problem in text for text in one["problems"])


def test_sub_cent_prices_are_exact() -> None:
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    [one] = table(board(quoted("80249.99", **prices("0.0125", "0.013"), price_ranges=ranges)), [0.02])["strikes"]
    assert (one["yes_bid"], one["yes_ask"], one["no_ask"]) == (1.25, 1.3, 98.75)


def test_missing_values_are_null_and_a_zero_is_a_zero() -> None:
    [one] = table(board(quoted("80249.99", volume_fp="0.00", yes_bid_size_fp=None)), [nan])["strikes"]
    assert one["volume"] == 0
    assert one["yes_bid_size"] is None
    assert (one["probability"], one["yes_diff"], one["edge_yes"]) == (None, None, None)
    assert one["yes_ask"] == 21


def test_without_an_event_the_ladder_stays_with_nulls() -> None:
    strikes = ladder_strikes_usd(PRICE, 250.0)
    of = replace(board(), event_ticker=None, closes_at=None, title="")
    found = written(
        strike_table(
            state(),
            250.0,
            of,
            ladder_markets(strikes, 1 - (strikes > PRICE) * 0.9, PRICE),
            closes_at=CLOSE,
            pool=MID,
            features=None,
            problems=(),
        )
    )
    assert (found["market_status"], found["event_ticker"], found["market_title"]) == ("no event", None, None)
    assert len(found["strikes"]) == ROWS
    assert found["strikes"][0]["strike"] == 80_250
    assert {one["ticker"] for one in found["strikes"]} == {None}
    assert (row(found, 80_500)["probability"], row(found, 80_500)["yes_probability"]) == (90, 10)


def test_an_event_without_markets_and_a_feed_without_an_answer_are_told_apart() -> None:
    assert market_status(board(), NOW) == "no event: KXBTCD-26MAR2106 has no markets"
    assert market_status(board(failure="events: timed out"), NOW) == "unavailable: events: timed out"
    assert market_status(board(closes_at=None, event_ticker=None), NOW) == "no event"
    assert market_status(board(quoted(age_ms=9_000)), NOW) == "unavailable: quotes are 9 s old"


def test_replayed_prices_give_no_edge_against_real_quotes_but_one_against_simulated_ones() -> None:
    of = board(quoted("80249.99", **prices("0.48", "0.50")))
    real, simulated = (
        table(each, [0.6], live=state("replay")) for each in (of, replace(of, source=MarketSource.SIMULATED))
    )
    assert (real["strikes"][0]["edge_yes"], real["simulated"]) == (None, False)
    assert "replayed prices give no edge against the exchange's quotes" in real["reasons"]
    assert simulated["strikes"][0]["edge_yes"] is not None
    assert simulated["simulated"]
    assert simulated["broker"] == "simulated"


def test_an_old_price_gives_no_edge() -> None:
    live = state()
    for age_ms, shown in ((2_000, True), (2_001, False)):
        old = replace(live, tick=Tick(NOW - timedelta(milliseconds=age_ms), PRICE))
        [one] = table(board(quoted("80249.99")), [0.6], live=old)["strikes"]
        assert (one["edge_yes"] is not None) is shown
        assert (one["yes_diff"] is not None) is shown
        assert one["yes_ask"] == 21


def test_quotes_that_a_clock_set_back_has_dated_ahead_are_not_shown() -> None:
    [one] = table(board(quoted("80249.99", -900)), [0.6])["strikes"]
    assert (one["yes_ask"], one["quote_age_ms"]) == (21, 0)
    found = table(board(quoted("80249.99", -59_000)), [0.6])
    assert found["market_status"] == "unavailable: quotes are dated 59 s ahead"
    assert (found["strikes"][0]["yes_ask"], found["strikes"][0]["edge_yes"]) == (None, None)


def test_long_texts_of_a_failing_exchange_leave_the_table_readable() -> None:
    of = board(quoted("80249.99", 5_000), failure="x" * 3_000, problems=("y" * 3_000,), title="z\n" * 2_000)
    found = table(of, [0.6])
    assert found["market_status"].startswith("unavailable: xxx")
    assert max(len(found["market_status"]), len(found["warnings"][-1]), len(found["market_title"])) < 1_000


def test_the_basis_and_its_absence_are_said() -> None:
    assert table(board(quoted()), [0.5])["basis_bps"] == 1.5
    without = table(board(quoted()), [0.5], live=state(basis_bps=None))
    assert (without["basis_bps"], without["basis"]) == (None, None)


def test_an_ended_session_leaves_no_quote_behind() -> None:
    found = table(board(quoted("80249.99")), [0.6], ended="the live session ended: stopped by SIGTERM")
    assert found["market_status"] == "unavailable: the live session ended: stopped by SIGTERM"
    assert (found["status"], found["strikes"][0]["yes_ask"]) == ("stale", None)
    assert found["reasons"][0].startswith("the live session ended")


def test_a_strike_between_our_own_is_answered_by_itself() -> None:
    found = table(board(quoted("80312.37")), [0.4987])
    assert [(one["strike"], one["yes_probability"]) for one in found["strikes"]] == [(80_312.38, 49.87)]


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_certain_answer_stays_certain_in_the_pool(chance: float) -> None:
    [one] = table(board(quoted("80249.99", **prices("0.48", "0.50"))), [chance])["strikes"]
    assert one["pooled_probability"] == 100 * chance


def test_the_time_to_the_close_is_that_of_the_event() -> None:
    quarter = CLOSE - timedelta(minutes=15)
    found = table(replace(board(quoted()), closes_at=quarter), [0.5], closes_at=quarter)
    assert (found["ttc"], found["market_close"]) == (300, "2026-03-21T09:45:00Z")
