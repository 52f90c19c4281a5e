"""What is known of a series: its current event, its markets with their quotes, and what is wrong with them."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from market_messages import EVENT, ticker
from market_rows import LATER, at, listings, row, tickers, whole, with_missing

from pipelines.domain.markets.board import EventBoard, MarketSource
from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms, FeeType
from pipelines.domain.markets.listings import ExchangeSection, ExchangeStatus
from pipelines.errors import MarketError
from pipelines.markets.series_events import KnownEvent, SeriesEvents, SeriesPlan

PLAN = SeriesPlan("BTC", "KXBTCD", 250.0)
STRIKES = ("80199.99", "80449.99", "80699.99")
NOW = at("09:30:00")


def events(*rows: dict[str, Any]) -> SeriesEvents:
    """A series whose current event has been received whole at NOW, by default with three markets."""
    found = SeriesEvents(PLAN, MarketSource.KALSHI)
    found.take_event(whole(*(rows or map(row, STRIKES))), NOW)
    assert found.take_ended(NOW) == []
    return found


def current(found: SeriesEvents) -> KnownEvent:
    known = found.current(NOW)
    assert known is not None
    return known


def board(found: SeriesEvents, now: str = "09:30:00") -> EventBoard:
    return found.board(at(now), None)


def of(shown: EventBoard) -> list[str]:
    return [one.listing.market.ticker for one in shown.markets]


def poll(found: SeriesEvents, *rows: dict[str, Any], received: str = "09:30:01", arrival: int = 0) -> None:
    """Receive an answer to a question for the three markets of the current event."""
    answer = replace(listings(*rows), arrival=arrival)
    found.take_quotes(current(found), tickers(*STRIKES), answer, at(received))


def test_nothing_is_known_before_the_first_answer() -> None:
    shown = board(SeriesEvents(PLAN, MarketSource.KALSHI))
    assert (shown.event_ticker, shown.closes_at, shown.markets, shown.problems) == (None, None, (), ())


def test_a_whole_event_is_on_the_board_with_its_title_and_the_time_of_arrival() -> None:
    shown = board(events())
    assert (shown.symbol, shown.series_ticker, shown.source) == ("BTC", "KXBTCD", MarketSource.KALSHI)
    assert (shown.event_ticker, shown.closes_at) == (EVENT, at("10:00:00"))
    assert shown.title == "Bitcoin price on Mar 21, 2026?"
    assert of(shown) == list(tickers(*STRIKES))
    assert {one.received_at for one in shown.markets} == {NOW}


def test_the_current_event_closes_next_by_its_time_and_not_by_its_ticker() -> None:
    found = SeriesEvents(PLAN, MarketSource.KALSHI)
    rows = [row(name=EVENT, closes="11:00:00"), row(name=LATER, closes="10:00:00")]
    found.take_found(listings(*rows), NOW)
    assert board(found).event_ticker == LATER


def test_of_two_open_events_the_first_to_close_is_current_and_the_other_follows_at_its_close() -> None:
    found = events()
    long_open = row(name=LATER, closes="21:00:00", open_time="2026-03-20T20:00:00Z")
    found.take_found(listings(long_open), NOW)
    assert board(found, "09:59:59").event_ticker == EVENT
    assert board(found, "10:00:00").event_ticker == LATER
    assert board(found, "21:00:00").event_ticker is None
    assert found.take_ended(at("10:00:00")) == [(at("10:00:00"), list(tickers(*STRIKES)))]
    assert found.take_ended(at("10:00:01")) == []


def test_an_event_that_is_not_open_yet_takes_over_at_the_close() -> None:
    found = events()
    found.take_found(listings(row(name=LATER, closes="11:00:00", status="initialized")), NOW)
    shown = board(found, "10:00:00")
    assert shown.event_ticker == LATER
    assert shown.markets[0].listing.market.status is MarketStatus.INITIALIZED


def test_an_event_that_was_over_when_it_was_found_is_none() -> None:
    found = events()
    over = row(name=LATER, closes="09:29:59")
    ended = row("1.99", name=LATER, closes="11:00:00", status="finalized", result="yes")
    found.take_found(listings(over, ended), NOW)
    assert found.take_ended(NOW) == []
    assert not found.is_known(LATER)


@pytest.mark.parametrize("status", ["closed", "determined", "disputed", "amended", "finalized"])
def test_an_event_closes_early_when_none_of_its_markets_is_traded_again(status: str) -> None:
    found = events()
    poll(found, row(STRIKES[0], status=status, result="yes"), *map(row, STRIKES[1:]))
    assert board(found).event_ticker == EVENT
    poll(found, *(row(strike, status=status, result="yes") for strike in STRIKES), received="09:30:02")
    assert board(found).event_ticker is None
    assert found.take_ended(NOW) == [(at("10:00:00"), list(tickers(*STRIKES)))]


def test_a_void_event_is_over() -> None:
    found = events()
    poll(found, *(row(strike, status="finalized", result="void") for strike in STRIKES))
    assert board(found).event_ticker is None


def test_an_early_close_by_its_time_ends_the_event() -> None:
    found = events()
    poll(found, *(row(strike, closes="09:30:01", open_time="2026-03-21T09:00:00Z") for strike in STRIKES))
    assert board(found, "09:30:00").closes_at == at("09:30:01")
    assert board(found, "09:30:01").event_ticker is None


def test_a_changed_close_counts_at_once_and_asks_for_the_whole_event() -> None:
    found = events()
    assert not current(found).is_outdated
    poll(found, *(row(strike, closes="10:15:00") for strike in STRIKES[:2]))
    shown = board(found)
    assert shown.closes_at == at("10:15:00")
    assert of(shown) == list(tickers(*STRIKES[:2]))
    assert shown.problems == (
        f"{ticker(STRIKES[2])}: closes at 2026-03-21 10:00:00 UTC, not at 2026-03-21 10:15:00 UTC",
    )
    assert current(found).is_outdated
    found.take_event(whole(*(row(strike, closes="10:15:00") for strike in STRIKES)), at("09:30:02"))
    shown = board(found)
    assert (shown.problems, len(shown.markets), current(found).is_outdated) == ((), 3, False)


def test_a_market_that_closes_at_another_time_than_its_event_is_left_out_and_named() -> None:
    found = events(row(STRIKES[0], closes="11:00:00"), *map(row, STRIKES[1:]))
    shown = board(found)
    assert shown.closes_at == at("10:00:00")
    assert of(shown) == list(tickers(*STRIKES[1:]))
    assert [one.split(":")[0] for one in shown.problems] == [ticker(STRIKES[0])]


def test_an_event_with_a_new_name_replaces_the_old_one() -> None:
    found = events()
    found.take_found(listings(row(name="KXBTCD-26MAR2106R")), at("09:31:00"))
    assert board(found).event_ticker == "KXBTCD-26MAR2106R"
    assert found.take_ended(at("09:31:00")) == [(at("10:00:00"), list(tickers(*STRIKES)))]


def test_an_event_that_a_search_does_not_list_stays_without_a_replacement() -> None:
    found = events()
    found.take_found(listings(), at("09:31:00"))
    found.take_found(listings(row(name=LATER, closes="11:00:00")), at("09:32:00"))
    assert board(found).event_ticker == EVENT
    both = [row(), row(name="KXBTCD-26MAR2106R")]
    found.take_found(listings(*both), at("09:33:00"))
    assert board(found).event_ticker == EVENT


def test_a_halt_of_the_exchange_or_of_the_section_of_the_markets_is_shown() -> None:
    found = events(*(row(strike, exchange_index=2) for strike in STRIKES))
    assert board(found).trading
    for status in (
        ExchangeStatus(exchange_active=True, trading_active=False),
        ExchangeStatus(exchange_active=False, trading_active=True),
        ExchangeStatus(exchange_active=True, trading_active=True, sections=(ExchangeSection(2, "Crypto", False),)),
    ):
        found.exchange = status
        assert not board(found).trading
    other = ExchangeSection(1, "Combos", False)
    found.exchange = ExchangeStatus(exchange_active=True, trading_active=True, sections=(other,))
    assert board(found).trading


def test_an_event_is_halted_when_all_of_its_markets_are_inactive() -> None:
    found = events()
    poll(found, row(STRIKES[0], status="inactive"), *map(row, STRIKES[1:]))
    shown = board(found)
    assert shown.trading
    assert shown.markets[0].listing.market.status is MarketStatus.INACTIVE
    poll(found, *(row(strike, status="inactive") for strike in STRIKES), received="09:30:02")
    shown = board(found)
    assert (shown.trading, shown.event_ticker, len(shown.markets)) == (False, EVENT, 3)


def test_a_vanished_market_keeps_its_quotes_with_their_age_until_the_event_is_received_without_it() -> None:
    found = events()
    answer = with_missing(listings(*map(row, STRIKES[:2])), ticker(STRIKES[2]))
    found.take_quotes(current(found), tickers(*STRIKES), answer, at("09:30:01"))
    shown = board(found)
    assert [one.received_at for one in shown.markets] == [at("09:30:01"), at("09:30:01"), NOW]
    assert shown.problems == (f"{ticker(STRIKES[2])}: not in the exchange's answer",)
    assert current(found).is_outdated
    renamed = "80699.98"
    found.take_event(whole(*map(row, (*STRIKES[:2], renamed))), at("09:30:02"))
    shown = board(found)
    assert of(shown) == list(tickers(*STRIKES[:2], renamed))
    assert shown.problems == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strike_type": "structured"}, "strike_type 'structured': unknown"),
        ({"status": "paused"}, "status 'paused': unknown"),
        ({"close_time": "soon"}, "close_time 'soon'"),
        ({"yes_bid_dollars": "1.7"}, "yes_bid_dollars '1.7': expected 0 to 1"),
    ],
)
def test_a_market_that_cannot_be_used_is_named_and_the_others_go_on(changes: dict[str, Any], reason: str) -> None:
    found = events(row(STRIKES[0], **changes), *map(row, STRIKES[1:]))
    shown = board(found)
    assert of(shown) == list(tickers(*STRIKES[1:]))
    assert len(shown.problems) == 1
    assert shown.problems[0].startswith(f"{ticker(STRIKES[0])}: {reason}")
    poll(found, *map(row, STRIKES))
    assert board(found).problems == ()


def test_a_market_that_becomes_unusable_keeps_its_quotes_with_their_age() -> None:
    found = events()
    poll(found, row(STRIKES[0], status="paused"), *map(row, STRIKES[1:]))
    shown = board(found)
    assert [one.received_at for one in shown.markets] == [NOW, at("09:30:01"), at("09:30:01")]
    assert shown.problems[0].startswith(f"{ticker(STRIKES[0])}: status 'paused': unknown")
    assert not current(found).is_outdated


def test_a_market_that_comes_twice_with_other_values_is_refused() -> None:
    found = events()
    poll(found, *map(row, STRIKES), row(STRIKES[1], yes_bid_dollars="0.1800", no_ask_dollars="0.8200"))
    shown = board(found)
    assert shown.problems == (f"{ticker(STRIKES[1])}: listed twice, with different values",)
    assert [one.received_at for one in shown.markets] == [at("09:30:01"), NOW, at("09:30:01")]


def test_the_same_reason_is_shown_once_for_all_markets() -> None:
    found = events(row("79949.99"), *(row(strike, strike_type="custom") for strike in STRIKES))
    [problem] = board(found).problems
    assert problem.startswith(f"{ticker(STRIKES[0])} and 2 more: strike_type 'custom': unknown")


def test_an_event_without_markets_is_an_error_and_what_is_known_of_it_stays() -> None:
    found = events()
    with pytest.raises(MarketError, match=f"^event {EVENT}: no markets$"):
        found.take_event(whole(), at("09:31:00"))
    assert len(board(found).markets) == 3


def test_an_event_whose_markets_are_all_refused_is_an_error_that_names_them() -> None:
    found = SeriesEvents(PLAN, MarketSource.KALSHI)
    with pytest.raises(MarketError, match=f"^event {EVENT}: no markets: {ticker()}: strike_type 'custom': unknown"):
        found.take_event(whole(row(strike_type="custom")), NOW)
    assert board(found).event_ticker is None


def test_an_empty_answer_is_an_error_and_the_quotes_stay_with_their_age() -> None:
    found = events()
    with pytest.raises(MarketError, match=f"^event {EVENT}: none of 3 markets$"):
        poll(found)
    assert {one.received_at for one in board(found).markets} == {NOW}


def test_a_market_of_another_event_is_not_taken() -> None:
    found = events()
    stranger = row(STRIKES[0]) | {"event_ticker": LATER}
    poll(found, stranger, *map(row, STRIKES[1:]))
    shown = board(found)
    assert shown.markets[0].received_at == NOW
    assert shown.problems == (f"{ticker(STRIKES[0])}: event_ticker '{LATER}': expected {EVENT}",)


def test_an_event_of_another_series_is_an_error() -> None:
    found = SeriesEvents(PLAN, MarketSource.KALSHI)
    with pytest.raises(MarketError, match=f"^event {EVENT}: series KXETHD, expected KXBTCD$"):
        found.take_event(whole(row(), series_ticker="KXETHD"), NOW)


def test_an_answer_that_arrives_later_is_not_replaced_by_an_earlier_one() -> None:
    found = events()
    poll(found, row(STRIKES[0], volume_fp="99.00"), *map(row, STRIKES[1:]), received="09:30:05", arrival=1)
    found.take_event(whole(*map(row, STRIKES)), at("09:30:04"))
    newest = board(found).markets[0]
    assert (newest.received_at, newest.listing.volume) == (at("09:30:05"), Decimal("99.00"))


def test_quotes_go_on_when_the_clock_is_set_back() -> None:
    found = events()
    poll(found, *map(row, STRIKES), received="09:30:05", arrival=1)
    poll(found, *(row(strike, volume_fp="99.00") for strike in STRIKES), received="09:00:00", arrival=2)
    shown = [(one.received_at, one.listing.volume) for one in board(found, "09:00:00").markets]
    assert shown == [(at("09:00:00"), Decimal("99.00"))] * 3


def test_the_close_of_an_answer_that_is_left_out_does_not_count() -> None:
    found = events()
    poll(found, *map(row, STRIKES), received="09:30:05", arrival=1)
    found.take_event(whole(*(row(strike, closes="10:15:00") for strike in STRIKES)), at("09:30:04"))
    shown = board(found)
    assert (shown.closes_at, len(shown.markets), shown.problems) == (at("10:00:00"), 3, ())
    assert len(current(found).nearest(80_000.0, 3)) == 3


def test_an_event_without_markets_that_close_with_it_is_asked_for_again() -> None:
    found = events()
    poll(found, *(row(strike, closes="10:15:00") for strike in STRIKES[:2]), arrival=1)
    poll(found, row(STRIKES[2]), arrival=2)
    poll(found, *(row(strike, closes="10:15:00") for strike in STRIKES[:2]), arrival=3)
    found.take_event(whole(row(STRIKES[2])), at("09:30:02"))
    assert current(found).nearest(80_000.0, 3) == ()
    assert current(found).is_outdated


def test_an_event_that_is_over_when_it_is_received_has_not_ended_now() -> None:
    found = SeriesEvents(PLAN, MarketSource.KALSHI)
    found.take_event(whole(*(row(strike, status="finalized", result="no") for strike in STRIKES)), NOW)
    assert (found.take_ended(NOW), found.current(NOW)) == ([], None)


def test_the_fee_terms_are_those_of_the_series_unless_the_event_has_its_own() -> None:
    found = events()
    change = FeePeriod(FeeTerms(multiplier=Decimal("0.5")), at("09:45:00"))
    found.fees = FeeSchedule((FeePeriod(FeeTerms()), change))
    assert board(found).fee_terms == FeeTerms()
    assert board(found, "09:45:00").fee_terms == FeeTerms(multiplier=Decimal("0.5"))
    waived = whole(*map(row, STRIKES), fee_type_override="quadratic", fee_multiplier_override=0)
    found.take_event(waived, at("09:46:00"))
    assert board(found, "09:46:00").fee_terms == FeeTerms(FeeType.QUADRATIC, Decimal(0))


def test_the_nearest_markets_are_those_of_the_current_event() -> None:
    found = events(row(STRIKES[0], closes="11:00:00"), *map(row, STRIKES[1:]), row("79949.99"))
    assert current(found).nearest(80_000.0, 2) == tuple(tickers("79949.99", "80449.99"))
    poll(found, *map(row, STRIKES))
    assert current(found).nearest(80_000.0, 2) == tuple(tickers("79949.99", "80199.99"))


def test_what_a_search_refuses_is_named_until_the_next_one() -> None:
    found = events()
    found.take_found(listings(row("1.99", LATER, strike_type="custom")), NOW + timedelta(seconds=1))
    assert board(found).problems[0].startswith(f"{ticker('1.99', LATER)}: strike_type 'custom': unknown")
    found.take_found(listings(), NOW + timedelta(seconds=2))
    assert board(found).problems == ()
