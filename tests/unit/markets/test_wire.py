"""Messages of the exchange of markets, in the shapes of 2025 and 2026."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import real_data
from market_messages import EVENT, book_2025, book_2026, event, market_2025, market_2026, ticker
from market_rows import read_event

from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import (
    MarketResult,
    MarketStatus,
    PriceRange,
    Side,
    StrikeType,
    market_of,
    payoff,
)
from pipelines.domain.markets.fees import FeeTerms, FeeType
from pipelines.domain.markets.listings import Listing
from pipelines.errors import MarketError
from pipelines.markets.slices import finish
from pipelines.markets.wire import (
    read_book,
    read_exchange_status,
    read_fee_schedule,
    read_historical_cutoff,
    read_listings,
    read_market,
    reading_events,
)


def exact(body: Any) -> Any:
    """A message as the client parses it."""
    return json.loads(json.dumps(body), parse_float=Decimal)


def listing(row: dict[str, Any]) -> Listing:
    found = read_listings(exact([row]))
    assert found.refused == ()
    return found.listings[0]


def reason(row: Any) -> str:
    found = read_listings(exact([row, market_2026("1.99")]))
    assert [one.market.ticker for one in found.listings] == [ticker("1.99")]
    return found.refused[0].reason


@pytest.mark.parametrize("row", [market_2025(), market_2026(), {**market_2025(yes_bid=18), **market_2026()}])
def test_both_shapes_are_the_same_market(row: dict[str, Any]) -> None:
    one = listing(row)
    assert one.market.ticker == ticker()
    assert one.market.series_ticker == "KXBTCD"
    assert one.market.strike_type is StrikeType.GREATER
    assert one.market.floor_strike == Decimal("80199.99")
    assert one.market.cap_strike is None
    assert one.market.closes_at == datetime(2026, 3, 21, 10, tzinfo=UTC)
    assert one.market.price_ranges == (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
    assert (one.market.status, one.market.result) == (MarketStatus.ACTIVE, None)
    quotes = one.quotes
    assert [each and each.price for each in (quotes.yes_bid, quotes.yes_ask, quotes.no_bid, quotes.no_ask)] == [
        Decimal(text) for text in ("0.17", "0.21", "0.79", "0.83")
    ]
    assert quotes.problems == ()
    assert one.volume // 1 == 12


def test_sizes_and_fractions_of_2026() -> None:
    one = listing(market_2026())
    assert one.quotes.yes_bid == Quote(Decimal("0.17"), Decimal("3.5"))
    assert one.quotes.no_bid == Quote(Decimal("0.79"), Decimal(7))
    assert (one.volume, one.open_interest) == (Decimal("12.25"), Decimal(5))
    unsized = listing(market_2026(yes_bid_size_fp="")).quotes.yes_bid
    assert unsized is not None
    assert unsized.contracts is None


def test_fields_may_be_null() -> None:
    dollars = {f"{name}_dollars": None for name in ("yes_bid", "yes_ask", "no_bid", "no_ask", "settlement_value")}
    sizes = dict.fromkeys(("yes_bid_size_fp", "yes_ask_size_fp", "volume_fp", "open_interest_fp"))
    others = dict.fromkeys(("cap_strike", "result", "expiration_value", "price_ranges", "settlement_value"))
    assert listing(market_2025(**dollars, **sizes, **others)) == listing(market_2025())
    cents = dict.fromkeys(("yes_bid", "yes_ask", "no_bid", "no_ask", "volume", "open_interest", "tick_size"))
    assert listing(market_2026(**cents)) == listing(market_2026())


def test_prices_below_a_cent_stay_exact() -> None:
    row = market_2026(
        yes_bid_dollars="0.170001",
        no_ask_dollars="0.829999",
        price_ranges=[{"start": "0", "end": "1", "step": "0.001"}],
    )
    one = listing(row)
    assert one.quotes.yes_bid is not None
    assert one.quotes.yes_bid.price == Decimal("0.170001")
    assert one.quotes.problems == ()
    assert one.market.price_ranges[0].step == Decimal("0.001")


def test_no_bid_and_no_ask_are_absent_not_zero() -> None:
    for row in (
        market_2025(yes_bid=0, no_ask=100),
        market_2026(yes_bid_dollars="0.0000", no_ask_dollars="1.0000", yes_bid_size_fp="0.00"),
    ):
        quotes = listing(row).quotes
        assert (quotes.yes_bid, quotes.no_ask) == (None, None)
        assert quotes.problems == ("no bids for YES",)


def test_a_no_price_that_is_not_the_rest_of_the_yes_price_is_a_problem() -> None:
    quotes = listing(market_2026(no_ask_dollars="0.1700")).quotes
    assert quotes.problems == ("no_ask listed at 0.1700, 1 less the opposite bid is 0.8300",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strike_type": "structured"}, "strike_type 'structured': unknown, expected greater, greater_or_equal, less"),
        ({"strike_type": None}, "strike_type None: unknown"),
        ({"status": "paused"}, "status 'paused': unknown, expected initialized, active"),
        ({"result": "maybe"}, "result 'maybe': unknown, expected yes, no, scalar, void"),
        ({"market_type": "scalar"}, "market_type 'scalar'"),
        ({"floor_strike": None}, "floor_strike missing, strike_type greater needs it"),
        ({"floor_strike": "80 199"}, "floor_strike '80 199': expected a number"),
        ({"floor_strike": True}, "floor_strike True: expected a number"),
        ({"floor_strike": 1e300}, "floor_strike 1E+300: expected at most"),
        ({"floor_strike": "0.000000001"}, "floor_strike '0.000000001': expected at most"),
        ({"floor_strike": "٣"}, "expected a number"),
        ({"cap_strike": 90_000}, "cap_strike 90000, strike_type greater has none"),
        ({"close_time": "2026-03-21T10:00:00"}, "close_time '2026-03-21T10:00:00': expected a time zone"),
        ({"close_time": 1_774_087_200}, "close_time 1774087200: expected a time as a string"),
        ({"close_time": "soon"}, "close_time 'soon'"),
        ({"close_time": "2026-03-21T08:00:00Z"}, "is not before close_time"),
        ({"yes_bid_dollars": "1.01"}, "yes_bid_dollars '1.01': expected 0 to 1"),
        ({"yes_bid_dollars": "-0.01"}, "yes_bid_dollars '-0.01': expected 0 to 1"),
        ({"yes_bid_dollars": "NaN"}, "yes_bid_dollars 'NaN': expected a number"),
        ({"yes_bid_dollars": None}, "yes_bid_dollars and yes_bid missing"),
        ({"yes_bid": 101}, "yes_bid 101"),
        ({"yes_bid": "17"}, "yes_bid '17'"),
        ({"yes_bid": 17.5}, "yes_bid 17.5"),
        ({"volume_fp": None}, "volume_fp and volume missing"),
        ({"price_ranges": None, "tick_size": None}, "price_ranges and tick_size missing"),
        ({"price_ranges": [{"start": "0", "end": "1", "step": "0"}]}, "price_ranges.0.step 0"),
        ({"price_ranges": [{"start": "0", "end": "1"}]}, "price_ranges.0.step missing"),
        ({"result": "yes", "settlement_value_dollars": "0"}, "settlement_value 0 contradicts result yes"),
        ({"result": "scalar"}, "result scalar without settlement_value"),
        ({"expiration_value": "Yes"}, "expiration_value 'Yes': expected a number"),
        ({"event_ticker": "a/b"}, "event_ticker 'a/b'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_field(changes: dict[str, Any], expected: str) -> None:
    assert expected in reason(market_2026(**changes))


@pytest.mark.parametrize("row", [None, 1, "KXBTCD", [], {}, {"ticker": 5}])
def test_a_row_that_is_no_market_is_named_by_its_place(row: Any) -> None:
    found = read_listings([row])
    assert found.listings == ()
    assert found.refused[0].ticker == "markets.0"


def test_a_ticker_cannot_write_to_the_terminal() -> None:
    [refused] = read_listings([market_2026() | {"ticker": "\x1b[31m\n" * 100}]).refused
    assert refused.ticker.isprintable()
    assert refused.reason.isprintable()


def test_a_market_that_is_listed_twice_counts_once_and_not_at_all_when_the_two_differ() -> None:
    same = read_listings(exact([market_2026(), market_2026()]))
    assert (len(same.listings), same.refused) == (1, ())
    rows = exact([market_2026(), market_2026(status="closed"), market_2026(), market_2026("1.99")])
    differ = read_listings(rows)
    assert [one.market.ticker for one in differ.listings] == [ticker("1.99")]
    assert [(one.ticker, one.reason) for one in differ.refused] == [(ticker(), "listed twice, with different values")]


def test_results_pay_by_ticker_in_both_shapes() -> None:
    rows = [
        market_2025("1.99", status="finalized", result="no", settlement_value=0, expiration_value="80,000.12"),
        market_2025("2.99", status="finalized", result="yes", settlement_value=100),
        market_2026("3.99", status="finalized", result="scalar", settlement_value_dollars="0.3700"),
        market_2026("4.99", status="finalized", result="void"),
        market_2026("5.99", status="determined", result="yes", settlement_value_dollars="1.0000"),
    ]
    found = read_listings(exact(rows))
    assert found.refused == ()
    assert found.listings[0].index_value_usd == Decimal("80000.12")
    markets = [one.market for one in found.listings]
    paid = {}
    for strike in ("4.99", "3.99", "2.99", "1.99"):
        market = market_of(ticker(strike), markets)
        assert market.is_settled
        assert market.result is not None
        paid[strike] = payoff(Side.YES, market.result, market.settlement_value, Decimal("0.4"))
    assert paid == {"1.99": 0, "2.99": 1, "3.99": Decimal("0.37"), "4.99": Decimal("0.4")}
    assert not market_of(ticker("5.99"), markets).is_settled
    assert market_of(ticker("5.99"), markets).result is MarketResult.YES


@pytest.mark.parametrize("beside", [True, False])
def test_an_events_markets_are_beside_it_or_inside_it(beside: bool) -> None:
    rows = [market_2026(), market_2026("80449.99")]
    body = {"event": event([] if beside else rows), "markets": rows if beside else None}
    found = read_event(exact(body), EVENT)
    assert [one.market.ticker for one in found.markets.listings] == [ticker(), ticker("80449.99")]
    assert (found.series_ticker, found.markets.refused) == ("KXBTCD", ())


@pytest.mark.parametrize("nothing", [{"markets": []}, {"markets": None}, {}])
def test_an_event_without_markets(nothing: dict[str, Any]) -> None:
    inner = {key: value for key, value in event([]).items() if key != "markets"}
    assert read_event({"event": inner, **nothing}, EVENT).markets.listings == ()


def test_a_market_of_another_event_is_refused() -> None:
    found = read_event(exact({"event": event([market_2026(), market_2026("1.99", "KXBTCD-26MAR2107")])}), EVENT)
    assert len(found.markets.listings) == 1
    [refused] = found.markets.refused
    assert refused.reason == f"event_ticker 'KXBTCD-26MAR2107': expected {EVENT}"


def test_an_answer_about_another_thing_is_an_error() -> None:
    with pytest.raises(MarketError, match=f"OTHER: received event {EVENT}"):
        read_event(exact({"event": event([])}), "OTHER")
    with pytest.raises(MarketError, match=f"OTHER: received market {ticker()}"):
        read_market(exact({"market": market_2026()}), "OTHER")
    with pytest.raises(MarketError, match="A: received the order book of B"):
        read_book(book_2026("B"), "A")
    with pytest.raises(MarketError, match="OTHER: received series KXBTCD"):
        read_fee_schedule({"series": {"ticker": "KXBTCD", "fee_type": "quadratic", "fee_multiplier": 1}}, [], "OTHER")


def test_an_event_that_cannot_be_read_is_named_and_the_others_come() -> None:
    rows = [event([]), event([], "KXBTCD-B", fee_type_override="flat"), event([], "KXBTCD-C", series_ticker=None)]
    events, refused = finish(reading_events(rows))
    assert [one.ticker for one in events] == [EVENT]
    assert [one.ticker for one in refused] == ["KXBTCD-B", "KXBTCD-C"]
    assert refused[0].reason.startswith("fee_type_override 'flat': unknown, expected quadratic")


def test_an_event_can_replace_the_fee_terms_of_its_series() -> None:
    series = FeeTerms(FeeType.QUADRATIC, Decimal(1))
    plain, waived = (
        read_event(exact({"event": event([], **changes)}), EVENT)
        for changes in (
            {"fee_type_override": None},
            {"fee_multiplier_override": 0, "fee_type_override": "quadratic_with_combo_maker_fees"},
        )
    )
    assert plain.fee_terms(series) == series
    assert waived.fee_terms(series) == FeeTerms(FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES, Decimal(0))


def test_markets_carry_the_fee_terms_they_are_given() -> None:
    found, terms = (
        read_listings(exact([market_2026(), market_2026("1.99", status="odd")])),
        FeeTerms(multiplier=Decimal(2)),
    )
    assert [one.market.fee_terms for one in found.listings] == [None]
    priced = found.with_fee_terms(terms)
    assert [one.market.fee_terms for one in priced.listings] == [terms]
    assert priced.refused == found.refused


def test_a_value_without_a_result_is_not_a_settlement() -> None:
    assert listing(market_2026(settlement_value_dollars="0.0000")).market.settlement_value is None
    assert listing(market_2025(settlement_value=0)).market.settlement_value is None


def test_fee_changes_apply_in_the_order_of_their_dates() -> None:
    series = {"series": {"ticker": "S", "fee_type": "quadratic", "fee_multiplier": 1}}
    changes = [
        {"series_ticker": "S", "fee_type": "quadratic", "fee_multiplier": m, "scheduled_ts": f"2026-12-0{m}T00:00:00Z"}
        for m in (3, 2)
    ]
    schedule = read_fee_schedule(series, changes, "S")
    terms = [schedule.terms_at(datetime(2026, 12, day, tzinfo=UTC)).multiplier for day in (1, 2, 3)]
    assert terms == [1, 2, 3]
    with pytest.raises(MarketError, match="S: fee change: fee_multiplier -1"):
        read_fee_schedule(series, [{**changes[0], "fee_multiplier": -1}], "S")
    with pytest.raises(MarketError, match="S: series.fee_type 'flat': unknown"):
        read_fee_schedule({"series": {"ticker": "S", "fee_type": "flat", "fee_multiplier": 1}}, [], "S")


def test_books_of_both_shapes() -> None:
    new, old = read_book(exact(book_2026()), "M").quotes(), read_book(exact(book_2025()), "M").quotes()
    assert new.yes_bid == Quote(Decimal("0.17"), Decimal("3.5"))
    assert new.yes_ask == Quote(Decimal("0.21"), Decimal(7))
    assert old.yes_bid == Quote(Decimal("0.17"), Decimal(3))
    assert old.problems == ("no bids for NO",)
    both = {"orderbook": {**book_2025()["orderbook"], "yes_dollars": [["0.1655", "9"]], "no_dollars": None}}
    assert read_book(both, "M").yes_bids == (Quote(Decimal("0.1655"), Decimal(9)),)


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ([["0.17"]], "M: yes.0 .*expected a price and a number"),
        ([["0.17", "1"], "x"], "M: yes.1 'x': expected a price and a number"),
        ([["0.17", "many"]], "M: yes.0: contracts 'many': expected a number"),
        ([[None, "1"]], "M: yes.0: price None: expected a number"),
        ("levels", "M: orderbook_fp.yes_dollars 'levels'"),
    ],
)
def test_a_level_that_cannot_be_read_is_named(levels: Any, problem: str) -> None:
    with pytest.raises(MarketError, match=problem):
        read_book({"orderbook_fp": {"yes_dollars": levels, "no_dollars": []}}, "M")


def test_a_book_without_a_side_or_without_levels_is_an_error() -> None:
    for body in ({"orderbook_fp": {"yes_dollars": []}}, {"orderbook": {"no": []}}):
        with pytest.raises(MarketError, match="M: a side of the order book missing"):
            read_book(body, "M")
    with pytest.raises(MarketError, match="M: orderbook_fp and orderbook missing"):
        read_book({"book": {}}, "M")
    assert read_book({"orderbook_fp": {"yes_dollars": None, "no_dollars": []}}, "M").quotes().problems == ("no bids",)


def test_the_exchanges_state_needs_its_fields() -> None:
    with pytest.raises(MarketError, match="exchange status: trading_active missing"):
        read_exchange_status({"exchange_active": True})
    with pytest.raises(MarketError, match="exchange status: trading_active 'true'"):
        read_exchange_status({"exchange_active": True, "trading_active": "true"})
    with pytest.raises(MarketError, match="historical cutoff: market_settled_ts missing; trades_created_ts missing"):
        read_historical_cutoff({})


def real(name: str) -> Any:
    path = real_data.real_data("api/kalshi") / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return json.loads(path.read_text(), parse_float=Decimal)


@pytest.mark.real_data
def test_a_real_event_of_2025() -> None:
    found = read_event(real("event_with_markets_KXBTCD-25JUL2615_2025-07-26.json")["data"], "KXBTCD-25JUL2615")
    assert len(found.markets.listings) == 75
    assert found.markets.refused == ()
    strikes = [one.market.floor_strike for one in found.markets.listings]
    assert all(strike is not None and strike % 250 == Decimal("249.99") for strike in strikes)
    assert {one.market.closes_at for one in found.markets.listings} == {datetime(2025, 7, 26, 19, tzinfo=UTC)}
    allowed = {"no bids", "no bids for YES", "no bids for NO"}
    assert {problem for one in found.markets.listings for problem in one.quotes.problems} <= allowed


@pytest.mark.real_data
def test_real_markets_of_2026() -> None:
    found = read_listings(real("markets_KXBTC_first5_2026-03-21.json"))
    assert found.refused == ()
    assert [one.market.strike_type for one in found.listings] == [
        StrikeType.GREATER,
        StrikeType.LESS,
        *[StrikeType.BETWEEN] * 3,
    ]
    assert [one.market.bounds_usd() for one in found.listings][:3] == [
        (Decimal(80_200), None),
        (None, Decimal(61_600)),
        (Decimal(80_100), Decimal(80_200)),
    ]
    one = read_market(real("market_KXBTC-26MAR2106-T80199.99_2026-03-21.json"), "KXBTC-26MAR2106-T80199.99")
    assert one == found.listings[0]


@pytest.mark.real_data
def test_a_real_market_of_sports_is_refused_by_name() -> None:
    found = read_listings(real("newest_shape_markets_KXNFLGAME_2026-10-06.json")["markets"])
    assert found.listings == ()
    assert found.refused[0].ticker == "KXNFLGAME-26OCT08TBDAL-DAL"
    assert found.refused[0].reason.startswith("strike_type 'structured': unknown")


@pytest.mark.real_data
def test_real_order_books() -> None:
    one_sided = read_book(real("orderbook_KXBTC-26MAR2106-T80199.99_2026-03-21.json"), "M").quotes()
    assert one_sided.yes_ask == Quote(Decimal("0.01"), Decimal(11_228))
    assert one_sided.problems == ("no bids for YES",)
    two_sided = read_book(real("newest_shape_orderbook_depth3_2026-10-06.json"), "M").quotes()
    assert two_sided.yes_bid == Quote(Decimal("0.8"), Decimal("16529.55"))
    assert two_sided.yes_ask == Quote(Decimal("0.81"), Decimal("375864.43"))
    assert two_sided.problems == ()


@pytest.mark.real_data
def test_the_real_state_of_the_exchange() -> None:
    state = read_exchange_status(real("newest_shape_exchange_status_2026-10-06.json"))
    assert [each.description for each in state.sections] == ["Default", "Combos", "Crypto & Commodities"]
    assert all(each.trading_active for each in state.sections)
    assert read_historical_cutoff(real("historical_cutoff_2026-03-21.json")).trades_created_at.year == 2025
