"""The client of the exchange of markets, against a local server in its shapes and with its faults."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import market_messages as messages
import pytest
from exchange_server import garbage, other_shape, stall, status
from market_messages import book_2025, book_2026, event, market_2025, market_2026, ticker
from market_server import MarketServer, serving

from pipelines.domain.markets.fees import FeeTerms, FeeType
from pipelines.domain.markets.listings import ExchangeSection
from pipelines.errors import MarketError
from pipelines.markets.client import MarketClient, MarketFilter

R = TypeVar("R")
NOT_OURS = {"strike_type": "structured", "ticker": "KXBTCD-26MAR2106-ODD"}
LATER = "KXBTCD-26MAR2107"


def ask(server: MarketServer, question: Callable[[MarketClient], Awaitable[R]], **changes: Any) -> R:
    async def run() -> R:
        async with serving(server), MarketClient(server.settings(**changes)) as client:
            return await question(client)

    return asyncio.run(run())


def refusal(server: MarketServer, question: Callable[[MarketClient], Awaitable[Any]], **changes: Any) -> str:
    with pytest.raises(MarketError) as caught:
        ask(server, question, **changes)
    text = str(caught.value)
    assert "\n" not in text
    return text


def ladder(*strikes: str) -> MarketServer:
    return MarketServer(events=[event([market_2026(strike) for strike in strikes])])


def test_all_pages_of_a_series_are_read() -> None:
    server = ladder("80199.99", "80449.99", "80699.99", "80949.99", "81199.99")
    found = ask(server, lambda client: client.markets("KXBTCD"))
    assert [one.market.floor_strike for one in found.listings] == [
        Decimal(text) for text in ("80199.99", "80449.99", "80699.99", "80949.99", "81199.99")
    ]
    assert len(server.requests) == 3
    assert all(
        "limit=1000" in one and "status=open" in one and "series_ticker=KXBTCD" in one for one in server.requests
    )


def test_markets_are_selected_by_their_close() -> None:
    server = MarketServer(
        events=[event([market_2026()]), event([market_2026(close_time="2026-03-21T11:00:00Z")], LATER)]
    )
    closing = (datetime(2026, 3, 21, 10, tzinfo=UTC), datetime(2026, 3, 21, 10, 30, tzinfo=UTC))
    found = ask(server, lambda client: client.markets("KXBTCD", None, closing=closing))
    assert [one.market.closes_at for one in found.listings] == [closing[0]]
    assert all("min_close_ts=1774087200&max_close_ts=1774089000" in one for one in server.requests)


def test_listings_say_when_their_first_page_arrived() -> None:
    instants = [datetime(2026, 3, 21, 9, minute, tzinfo=UTC) for minute in range(60)]

    async def run() -> None:
        ticks = iter(instants)
        server = ladder("80199.99", "80449.99", "80699.99")
        async with serving(server), MarketClient(server.settings(), lambda: next(ticks)) as client:
            # Each request reads the clock before it is sent, and at the arrival of its answer.
            assert (await client.markets("KXBTCD")).received_at == instants[1]
            assert len(server.requests) == 2
            assert (await client.markets_of([ticker()])).received_at == instants[5]
            assert (await client.event(messages.EVENT)).markets.received_at == instants[7]
            [found], _ = await client.events("KXBTCD")
            assert found.markets.received_at == instants[9]

    asyncio.run(run())


def test_numbers_stay_exact_from_the_json_to_the_strike() -> None:
    server = MarketServer(events=[event([market_2026(floor_strike=80199.99, yes_bid_dollars="0.170001")])])
    [one] = ask(server, lambda client: client.markets("KXBTCD")).listings
    assert one.market.floor_strike == Decimal("80199.99")
    assert one.quotes.yes_bid is not None
    assert one.quotes.yes_bid.price == Decimal("0.170001")


def test_two_open_events_come_apart_and_together() -> None:
    server = MarketServer(
        events=[event([market_2026()]), event([market_2025(event=LATER)], LATER), event([], "KXBTCD-E")]
    )
    events, refused = ask(server, lambda client: client.events("KXBTCD"))
    assert [(one.ticker, len(one.markets.listings)) for one in events] == [
        (messages.EVENT, 1),
        (LATER, 1),
        ("KXBTCD-E", 0),
    ]
    assert refused == ()
    found = ask(server, lambda client: client.markets("KXBTCD", None))
    assert [one.market.event_ticker for one in found.listings] == [messages.EVENT, LATER]
    assert not any("status=" in one for one in server.requests[-1:])


def test_a_market_of_an_unknown_type_is_named_and_the_others_come() -> None:
    server = MarketServer(events=[event([market_2026("80199.99"), market_2026(**NOT_OURS), market_2026("80449.99")])])
    for found in (
        ask(server, lambda client: client.markets("KXBTCD")),
        ask(server, lambda client: client.event(messages.EVENT)).markets,
    ):
        assert [one.market.ticker for one in found.listings] == [ticker("80199.99"), ticker("80449.99")]
        [refused] = found.refused
        assert refused.ticker == "KXBTCD-26MAR2106-ODD"
        assert refused.reason.startswith("strike_type 'structured': unknown, expected greater,")


def test_markets_are_asked_for_by_ticker_and_missing_ones_are_named() -> None:
    server = ladder("80199.99", "80449.99")
    wanted = [ticker("80449.99"), "KXBTCD-GONE", ticker("80449.99")]
    found = ask(server, lambda client: client.markets_of(wanted))
    assert [one.market.ticker for one in found.listings] == [ticker("80449.99")]
    assert [(one.ticker, one.reason) for one in found.refused] == [("KXBTCD-GONE", "not in the exchange's answer")]
    assert len(server.requests) == 1


def test_more_tickers_than_fit_are_asked_for_in_parts() -> None:
    strikes = [f"{80_000 + 10 * i}.99" for i in range(150)]
    server = ladder(*strikes)
    server.rows_per_page = 1000
    found = ask(server, lambda client: client.markets_of(map(ticker, strikes)))
    assert len(found.listings) == 150
    assert len(server.requests) == 2
    server.books = {ticker(strike): book_2026() for strike in strikes}
    assert len(ask(server, lambda client: client.order_books(map(ticker, strikes))).books) == 150
    assert len(server.requests) == 4


def test_order_books_of_several_markets() -> None:
    server = MarketServer(
        books={
            "A": book_2026(),
            "B": book_2025(),
            "C": {"orderbook_fp": {"yes_dollars": [["x", "1"]], "no_dollars": []}},
        }
    )
    found = ask(server, lambda client: client.order_books(["A", "B", "C", "D"]))
    assert [book.ticker for book in found.books] == ["A", "B"]
    assert {one.ticker: one.reason for one in found.refused} == {
        "C": "yes.0: price 'x': expected a number",
        "D": "not in the exchange's answer",
    }
    assert server.requests == ["/trade-api/v2/markets/orderbooks?tickers=A&tickers=B&tickers=C&tickers=D"]
    book = ask(server, lambda client: client.order_book("A"))
    assert book.quotes().yes_ask is not None


def test_one_market_one_event_and_the_exchange() -> None:
    server = ladder("80199.99")
    assert ask(server, lambda client: client.market(ticker())).market.ticker == ticker()
    assert ask(server, lambda client: client.event(messages.EVENT)).series_ticker == "KXBTCD"
    state = ask(server, lambda client: client.exchange_status())
    assert (state.trading_active, state.sections) == (True, (ExchangeSection(2, "Crypto", False),))
    assert [state.trades(index) for index in (None, 0, 2)] == [True, True, False]
    cutoff = ask(server, lambda client: client.historical_cutoff())
    assert cutoff.market_settled_at == datetime(2025, 3, 21, tzinfo=UTC)
    assert len(ask(server, lambda client: client.historical_markets("KXBTCD")).listings) == 1
    assert server.requests[-1].startswith("/trade-api/v2/historical/markets?")


def test_fee_terms_and_announced_changes() -> None:
    change = {
        "id": "1",
        "series_ticker": "KXBTCD",
        "fee_type": "quadratic_with_maker_fees",
        "fee_multiplier": 0.5,
        "scheduled_ts": "2026-12-01T00:00:00Z",
    }
    server = MarketServer(
        series={"KXBTCD": {"ticker": "KXBTCD", "fee_type": "quadratic", "fee_multiplier": 1}},
        fee_changes=[change, {**change, "series_ticker": "KXOTHER", "fee_type": "flat"}],
    )
    schedule = ask(server, lambda client: client.fee_schedule("KXBTCD"))
    assert schedule.terms_at(datetime(2026, 11, 30, tzinfo=UTC)) == FeeTerms()
    changed = FeeTerms(FeeType.QUADRATIC_WITH_MAKER_FEES, Decimal("0.5"))
    assert schedule.terms_at(datetime(2026, 12, 1, tzinfo=UTC)) == changed


def test_the_status_of_a_request_has_its_own_names() -> None:
    server = ladder("80199.99")
    ask(server, lambda client: client.markets("KXBTCD", MarketFilter.SETTLED))
    assert "status=settled" in server.requests[0]


@pytest.mark.parametrize("code", [429, 500, 503, 504, 599])
def test_a_temporary_failure_is_repeated(code: int) -> None:
    server = ladder("80199.99")
    server.fail("/markets", status(code), status(code))
    assert len(ask(server, lambda client: client.markets("KXBTCD")).listings) == 1
    assert len(server.requests) == 3


def test_a_rate_limit_that_stays_is_an_error_after_the_attempts() -> None:
    server = ladder("80199.99")
    server.fail("/markets", *[status(429)] * 9)
    text = refusal(server, lambda client: client.markets("KXBTCD"), attempts=3)
    assert text.startswith("markets of KXBTCD: RateLimitExceeded: ")
    assert "429" in text
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 403, 404, 410, 451])
def test_a_request_that_is_wrong_is_not_repeated(code: int) -> None:
    server = ladder("80199.99")
    server.fail("/markets", status(code))
    assert refusal(server, lambda client: client.markets("KXBTCD")).startswith("markets of KXBTCD: BadRequest: ")
    assert len(server.requests) == 1


def test_an_unknown_market_is_an_error() -> None:
    assert refusal(ladder(), lambda client: client.market("KXBTCD-GONE")).startswith("market KXBTCD-GONE: BadSymbol: ")


def test_a_cursor_that_comes_again_is_an_error() -> None:
    server = ladder("80199.99", "80449.99", "80699.99")
    server.stuck_cursor = "same"
    text = refusal(server, lambda client: client.markets("KXBTCD"))
    assert text == "markets of KXBTCD: the cursor of page 1 came again on page 2"
    assert len(server.requests) == 2


def test_pages_without_end_are_an_error() -> None:
    server = ladder("80199.99")
    server.endless = True
    text = refusal(server, lambda client: client.markets("KXBTCD"), max_pages=4)
    assert text == "markets of KXBTCD: more than 4 pages, 4 rows so far"
    assert len(server.requests) == 4


def test_a_request_without_answer_is_repeated_and_then_an_error() -> None:
    server = ladder("80199.99")
    server.fail("/markets", stall)
    assert len(ask(server, lambda client: client.markets("KXBTCD"), timeout_seconds=0.3).listings) == 1
    server.fail("/markets", *[stall] * 9)
    text = refusal(server, lambda client: client.markets("KXBTCD"), timeout_seconds=0.05, attempts=2)
    assert text.startswith("markets of KXBTCD: RequestTimeout: ")


def test_a_call_ends_at_its_deadline() -> None:
    server = ladder("80199.99")
    server.fail("/markets", *[stall] * 9)
    text = refusal(server, lambda client: client.markets("KXBTCD"), deadline_seconds=0.1)
    assert text == "markets of KXBTCD: no answer within 0.1 s"


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (garbage, "expected a JSON object"),
        (other_shape, "expected a JSON object with 'markets'"),
        (status(200, "[]"), "expected a JSON object"),
        (status(200, ""), "expected a JSON object, received none"),
        (status(200, '{"markets": {"a": 1}}'), "expected a list and a cursor"),
        (status(200, '{"markets": [], "cursor": 7}'), "expected a list and a cursor"),
        (status(200, '{"markets": [NaN], "cursor": ""}'), "expected a JSON object"),
        (status(200, '{"markets": ' + "[" * 100_000), "RecursionError"),
    ],
)
def test_answers_of_another_form_are_errors(fault: Any, problem: str) -> None:
    server = ladder("80199.99")
    server.fail("/markets", fault)
    assert problem in refusal(server, lambda client: client.markets("KXBTCD"))
    assert len(server.requests) == 1


def test_an_exchange_that_cannot_be_reached_is_an_error() -> None:
    async def run() -> None:
        server = MarketServer()
        async with serving(server):
            pass
        async with MarketClient(server.settings(attempts=2)) as client:
            await client.exchange_status()

    with pytest.raises(MarketError, match="exchange status: ExchangeNotAvailable"):
        asyncio.run(run())


@pytest.mark.parametrize("name", ["", "A/B", "A?b=1", "A&b", "..", "A\n", "A,B", "x" * 101])
def test_a_ticker_that_would_change_the_address_is_refused(name: str) -> None:
    server = MarketServer()
    assert "expected letters" in refusal(server, lambda client: client.order_book(name))
    assert "expected letters" in refusal(server, lambda client: client.markets_of([name]))
    assert server.requests == []


def test_a_cancelled_call_is_not_turned_into_an_error() -> None:
    async def run() -> None:
        server = MarketServer()
        server.fail("/exchange/status", stall)
        async with serving(server), MarketClient(server.settings()) as client:
            task = asyncio.create_task(client.exchange_status())
            while not server.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
