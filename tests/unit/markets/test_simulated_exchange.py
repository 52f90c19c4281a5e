"""The simulated exchange, asked by the real client over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeVar

import httpx
import pytest
from simulated_exchange import (
    BTC,
    ETH,
    QUARTERS,
    RANGES,
    Fault,
    Faults,
    ahead,
    answer,
    fixed,
    simulated_exchange,
    stall,
    walk,
    wall_clock,
)

from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.contracts import MarketResult, MarketStatus, StrikeType
from pipelines.errors import MarketError
from pipelines.markets.client import ClientSettings, MarketClient, MarketFilter
from pipelines.markets.simulation.incidents import Incidents

#: 16:20 Eastern: the event of 17:00 and that of the next day are open.
NOW = datetime(2026, 7, 22, 20, 20, 5, tzinfo=UTC)
PRICES = {
    "BTC": walk(NOW - timedelta(hours=3), 4 * 3600),
    "ETH": walk(NOW - timedelta(hours=3), 4 * 3600, 3_500.0, seed=2),
}
SERIES = (BTC, RANGES, QUARTERS, ETH)
T = TypeVar("T")


def ask(
    question: Callable[[MarketClient], Awaitable[T]],
    now: datetime = NOW,
    client: dict[str, Any] | None = None,
    **options: Any,
) -> T:
    """The answer of an exchange to a client's question."""

    async def run() -> T:
        async with simulated_exchange(**{"prices": PRICES, "series": SERIES, "clock": fixed(now), **options}) as url:
            quick = {"first_wait_seconds": 0.001, "longest_wait_seconds": 0.01, "requests_per_second": 1000.0}
            async with MarketClient(ClientSettings(**{"base_url": url, **quick, **(client or {})})) as asking:
                return await question(asking)

    return asyncio.run(run())


def test_it_trades_while_prices_arrive() -> None:
    assert ask(lambda client: client.exchange_status()).trading_active
    silent = ask(lambda client: client.exchange_status(), now=NOW + timedelta(hours=2))
    assert (silent.exchange_active, silent.trading_active) == (True, False)


def test_its_answers_are_refused_where_those_of_the_real_exchange_are_expected() -> None:
    with pytest.raises(MarketError, match=r"^exchange status: the exchange at http://127\S+ is simulated, but markets"):
        ask(lambda client: client.exchange_status(), client={"source": MarketSource.KALSHI})
    assert ask(lambda client: client.exchange_status(), client={"source": MarketSource.SIMULATED}).trading_active


def test_two_events_are_open_before_17_eastern() -> None:
    events, refused = ask(lambda client: client.events("KXBTCD"))
    assert [event.ticker for event in events] == ["KXBTCD-26JUL2217", "KXBTCD-26JUL2317"]
    assert all("simulated" in event.title for event in events)
    assert all(len(event.markets.listings) == 75 for event in events)
    assert refused == ()


@pytest.mark.parametrize("series", [one.ticker for one in SERIES])
def test_listings_and_order_books_show_the_same_quotes(series: str) -> None:
    async def both(client: MarketClient) -> tuple[Any, Any]:
        listings = await client.markets(series)
        return listings, await client.order_books([one.market.ticker for one in listings.listings])

    listings, books = ask(both)
    assert not listings.refused
    assert not books.refused
    assert [book.ticker for book in books.books] == [one.market.ticker for one in listings.listings]
    for listing, book in zip(listings.listings, books.books, strict=True):
        quotes = book.quotes(listing.market.price_ranges)
        assert (quotes.yes_bid, quotes.no_bid) == (listing.quotes.yes_bid, listing.quotes.no_bid)
        assert not [problem for problem in quotes.problems if "no bids" not in problem]


def test_every_endpoint_shows_a_market_alike() -> None:
    async def everywhere(client: MarketClient) -> tuple[Any, ...]:
        events, _ = await client.events("KXBTCD")
        listing = events[0].markets.listings[40]
        ticker = listing.market.ticker
        one = await client.event(events[0].ticker)
        return (
            [
                listing,
                one.markets.listings[40],
                await client.market(ticker),
                (await client.markets_of([ticker])).listings[0],
            ],
            [await client.order_book(ticker), (await client.order_books([ticker])).books[0]],
        )

    listings, books = ask(everywhere)
    assert all(one == listings[0] for one in listings)
    assert books[0] == books[1]


def test_types_of_strikes() -> None:
    ladder = ask(lambda client: client.markets("KXBTCD")).listings
    assert {one.market.strike_type for one in ladder} == {StrikeType.GREATER}
    assert all(
        str(one.market.floor_strike).endswith("49.99") or str(one.market.floor_strike).endswith("99.99")
        for one in ladder
    )
    ranges = [one.market for one in ask(lambda client: client.events("KXBTC"))[0][0].markets.listings]
    assert [ranges[0].strike_type, ranges[1].strike_type, ranges[-1].strike_type] == ["less", "between", "greater"]
    for low, high in pairwise(ranges):
        assert low.bounds_usd()[1] == high.bounds_usd()[0], "they cover every value once"


def test_a_quarter_hour_asks_for_the_value_before() -> None:
    [settled] = [
        one
        for one in ask(lambda client: client.markets("KXBTC15M", None)).listings
        if one.market.ticker == "KXBTC15M-26JUL221615-15"
    ]
    [now] = ask(lambda client: client.markets("KXBTC15M")).listings
    assert now.market.strike_type is StrikeType.GREATER_OR_EQUAL
    assert now.market.floor_strike == settled.index_value_usd
    assert now.market.price_ranges[0].step == Decimal("0.001")


def test_a_market_is_closed_then_determined_then_final() -> None:
    close = datetime(2026, 7, 22, 20, 0, tzinfo=UTC)
    ticker = next(
        one.market.ticker
        for one in ask(lambda client: client.markets("KXBTCD"), now=close - timedelta(minutes=1)).listings
        if one.market.closes_at == close
    )

    def at(seconds: float) -> Any:
        return ask(lambda client: client.market(ticker), now=close + timedelta(seconds=seconds))

    assert at(-1).market.status is MarketStatus.ACTIVE
    assert (at(1).market.status, at(1).market.result) == (MarketStatus.CLOSED, None)
    assert at(1).quotes.yes_bid is None
    determined, final = at(56), at(120)
    assert determined.market.status is MarketStatus.DETERMINED
    assert final.market.is_settled
    assert final.market.result is determined.market.result
    assert final.market.result is (
        MarketResult.YES if final.market.is_yes_at(final.index_value_usd) else MarketResult.NO
    )


def test_fee_terms_and_an_announced_change() -> None:
    assert ask(lambda client: client.fee_schedule("KXBTC")).terms_at(NOW).multiplier == Decimal("0.5")
    changing = ask(lambda client: client.fee_schedule("KXETHD"))
    after = datetime(2026, 8, 1, tzinfo=UTC)
    assert changing.periods[1].starts_at == after
    assert changing.terms_at(after) != changing.terms_at(NOW)
    later = ask(lambda client: client.fee_schedule("KXETHD"), now=after)
    assert later.terms_at(after) == changing.terms_at(after), "what was announced comes into force"


def test_pages() -> None:
    async def paged() -> list[str]:
        found: list[str] = []
        async with (
            simulated_exchange(PRICES, SERIES, clock=fixed(NOW)) as url,
            httpx.AsyncClient(base_url=url, params={"series_ticker": "KXBTC", "limit": 7}) as http,
        ):
            cursor = "first"
            while cursor:
                page = (await http.get("markets", params={} if cursor == "first" else {"cursor": cursor})).json()
                assert 0 < len(page["markets"]) <= 7
                found += [market["ticker"] for market in page["markets"]]
                cursor = page["cursor"]
            for refused in ({"limit": 0}, {"limit": 1_001}, {"limit": "x"}, {"cursor": "x"}, {"status": "later"}):
                assert (await http.get("markets", params=refused)).status_code == 400
            assert (await http.get("markets", headers={"host": "example.org"})).status_code == 400
        return found

    assert asyncio.run(paged()) == [
        one.market.ticker for one in ask(lambda client: client.markets("KXBTC", None)).listings
    ]


@pytest.mark.parametrize("wanted", list(MarketFilter))
def test_filters_by_status(wanted: MarketFilter) -> None:
    statuses = {
        MarketFilter.OPEN: {"active"},
        MarketFilter.SETTLED: {"finalized"},
    }.get(wanted, set())
    assert {one.market.status for one in ask(lambda client: client.markets("KXBTCD", wanted)).listings} == statuses


def test_markets_by_their_close() -> None:
    until = NOW + timedelta(minutes=50)
    found = ask(lambda client: client.markets("KXBTCD", None, closing=(NOW, until)))
    assert {one.market.closes_at for one in found.listings} == {datetime(2026, 7, 22, 21, tzinfo=UTC)}


def test_what_is_unknown_is_refused() -> None:
    for question in (
        lambda client: client.market("KXBTCD-26JUL2217-T1"),
        lambda client: client.event("KXBTCD-26JUL2299"),
        lambda client: client.fee_schedule("KXNONE"),
        lambda client: client.order_book("NONE"),
    ):
        with pytest.raises(MarketError):
            ask(question)
    missing = ask(lambda client: client.markets_of(["KXBTCD-26JUL2217-T1"]))
    assert missing.refused[0].reason == "not in the exchange's answer"


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ([answer(429)] * 3, "RateLimitExceeded"),
        ([answer(500)] * 3, "ExchangeNotAvailable"),
        ([answer(200, '{"exchange_active": tr')] * 3, ""),
        ([stall] * 3, "RequestTimeout"),
    ],
    ids=["429", "500", "garbage", "stall"],
)
def test_a_fault_is_an_error_of_the_client(faults: list[Fault], reason: str) -> None:
    injected = Faults()
    injected.fail("/exchange/status", *faults)
    with pytest.raises(MarketError, match=f"^exchange status: .*{reason}"):
        ask(lambda client: client.exchange_status(), client={"attempts": 3, "timeout_seconds": 0.2}, faults=injected)


def test_a_short_burst_of_refusals_is_overcome() -> None:
    injected = Faults()
    injected.fail("/events", answer(429), answer(500))
    events, _ = ask(lambda client: client.events("KXBTCD"), faults=injected)
    assert len(events) == 2
    assert len(injected.requests) == 3


def test_a_cursor_that_never_ends() -> None:
    injected = Faults()
    injected.endless_cursor("/markets")
    with pytest.raises(MarketError, match="more than 4 pages"):
        ask(lambda client: client.markets("KXBTC15M"), client={"max_pages": 4}, faults=injected)
    injected.stuck_cursor("/markets")
    with pytest.raises(MarketError, match="came again"):
        ask(lambda client: client.markets("KXBTC15M"), faults=injected)


def test_a_renamed_market_is_missing_under_its_name() -> None:
    injected = Faults()
    ticker = ask(lambda client: client.markets("KXBTCD")).listings[40].market.ticker
    injected.rename_market("/markets", ticker, f"{ticker}X")
    found = ask(lambda client: client.markets_of([ticker]), faults=injected)
    assert found.listings == ()
    assert ticker in [one.ticker for one in found.refused]


def test_an_event_without_markets() -> None:
    injected = Faults()
    injected.no_markets()
    events, _ = ask(lambda client: client.events("KXBTCD"), faults=injected)
    assert [event.markets.listings for event in events] == [(), ()]


def test_a_clock_that_is_ahead_is_noticed() -> None:
    async def problem(client: MarketClient) -> str | None:
        for _ in range(3):
            await client.exchange_status()
        return client.exchange_clock.problem

    assert ask(problem, clock=wall_clock) is None
    assert "clock is about" in str(ask(problem, clock=ahead(wall_clock)))


@pytest.mark.parametrize(
    ("incidents", "seen"),
    [
        (Incidents(0.0, 0.0, 0.0, 1.0), {MarketResult.VOID}),
        (Incidents(0.0, 0.0, 1.0, 0.0), {MarketResult.YES, MarketResult.NO}),
    ],
    ids=["void", "early close"],
)
def test_forced_incidents(incidents: Incidents, seen: set[MarketResult]) -> None:
    settled = ask(lambda client: client.markets("KXBTC", MarketFilter.SETTLED), incidents=incidents).listings
    assert settled
    assert {one.market.result for one in settled} == seen
    scheduled = {one.market.closes_at.minute for one in settled} == {0}
    assert scheduled is (incidents.early_close == 0.0)
