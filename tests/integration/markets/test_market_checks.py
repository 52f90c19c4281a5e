"""Checks of stored markets, candles and quotes: good data passes, and each kind of bad data is found."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import dagster as dg
import pytest
from market_listings import listing, market

from assets.markets import recheck_candles, recheck_markets
from pipelines.domain.evaluation.market_checks import check_quote_ages, check_quotes_not_crossed
from pipelines.domain.markets.candles import Candle, MarketCandles, PriceSpan
from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.settlement import MARKET_RULE
from pipelines.resources import DatabaseResource, SettingsResource
from pipelines.storage.live.day_partitions import count_days_ahead, create_day_partitions, upcoming_days
from pipelines.storage.markets.backfill import store_fetched
from pipelines.storage.markets.market_checks import count_rows, read_quote_ages, read_quote_counts
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Connection, Database

#: The newest event closed a day ago.
CLOSE = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
STRIKES = ("118499.99", "118749.99", "118999.99")
INDEX = "118600.00"


@pytest.fixture
def resource(database: Database) -> Iterator[DatabaseResource]:
    settings = SettingsResource()
    resources = {"database": DatabaseResource(settings=settings, url=database.url)}
    with dg.build_resources(resources) as built:
        yield built.database


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    """A connection that may write anything, in a database with one settled event of good markets and candles."""
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE market_data.market, market_data.market_quote, market_data.market_candle, market_data.market_fee CASCADE"
        )
        ids = store_event(connection)
        fetched = [
            (ids[name], candles(name, bid, ask))
            for name, (bid, ask) in zip(ids, (("0.80", "0.84"), ("0.40", "0.45"), ("0.10", "0.13")), strict=True)
        ]
        with connection.transaction():
            store_fetched(connection, fetched, CLOSE)
        yield connection


def store_event(connection: Connection, exchange: str = "kalshi", event: str = "KXBTCD-A") -> dict[str, int]:
    """Numbers of the markets of an event, by ticker."""
    records = []
    for strike in STRIKES:
        result = MarketResult.YES if Decimal(strike) < Decimal(INDEX) else MarketResult.NO
        settled = {"status": MarketStatus.FINALIZED, "result": result}
        records.append(MarketRecord("BTC", MARKET_RULE, listing(market(strike, event, CLOSE, **settled), index=INDEX)))
    ids = upsert_markets(connection, exchange, records).ids
    return {record.listing.market.ticker: ids[record.listing.market.ticker] for record in records}


def candles(ticker: str, bid: str, ask: str) -> MarketCandles:
    spans = (PriceSpan(*[Decimal(price)] * 4) for price in (bid, ask))
    yes_bid, yes_ask = spans
    ends = (CLOSE - timedelta(minutes=left) for left in range(59, -1, -1))
    return MarketCandles(ticker, tuple(Candle(end, yes_bid, yes_ask, Decimal(1), Decimal(2)) for end in ends))


def markets_of(resource: DatabaseResource) -> dict[str, dg.AssetCheckResult]:
    return {str(one.check_name): one for one in recheck_markets("BTC", resource)}


def candles_of(resource: DatabaseResource) -> dict[str, dg.AssetCheckResult]:
    return {str(one.check_name): one for one in recheck_candles("BTC", resource)}


def detail(result: dg.AssetCheckResult) -> object:
    return result.metadata["detail"].value


def test_good_data_passes(owner: Connection, resource: DatabaseResource) -> None:
    found = {**markets_of(resource), **candles_of(resource)}
    assert {name: (one.passed, one.metadata["of"].value) for name, one in found.items()} == {
        "closed_markets_are_settled": (True, 3),
        "results_match_the_index": (True, 3),
        "results_of_an_event_agree": (True, 1),
        "ladder_monotone": (True, 180),
        "candles_not_crossed": (True, 180),
        "minutes_have_candles": (True, 60),
    }
    assert count_rows(owner, "market", "BTC") == 3
    assert count_rows(owner, "market", "ETH") == 0


def test_without_markets_there_is_nothing_to_find(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("TRUNCATE market_data.market, market_data.market_candle CASCADE")
    found = {**markets_of(resource), **candles_of(resource)}
    assert all(one.passed and one.metadata["of"].value == 0 for one in found.values())
    assert len(found) == 6


def test_results_copied_from_the_first_market_are_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("UPDATE market_data.market SET result = 'yes'")
    found = markets_of(resource)
    copied = found["results_match_the_index"]
    assert (copied.passed, copied.severity, copied.metadata["broken"].value) == (False, dg.AssetCheckSeverity.ERROR, 2)
    assert "KXBTCD-A-T118749.99 yes at 118600.00" in str(detail(copied))
    assert found["results_of_an_event_agree"].passed, "all YES: some value gives them"


def test_a_yes_above_a_no_is_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("UPDATE market_data.market SET result = 'yes', index_value = NULL WHERE ticker LIKE '%118999.99'")
    agree = markets_of(resource)["results_of_an_event_agree"]
    assert (agree.passed, agree.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(detail(agree)).startswith("KXBTCD-A: no value of the index gives all its results: ")


def test_a_result_that_contradicts_its_payment_is_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("UPDATE market_data.market SET settlement_value = 0 WHERE ticker LIKE '%118499.99'")
    found = markets_of(resource)["results_match_the_index"]
    assert (found.passed, detail(found)) == (False, "KXBTCD-A-T118499.99: settlement_value 0 contradicts result yes")


def test_a_recording_without_results_does_not_warn(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute(
        "UPDATE market_data.market SET status = 'closed', result = NULL, index_value = NULL, price_ranges = '[]',"
        " opens_at = opens_at - interval '7 days', closes_at = closes_at - interval '7 days'"
    )
    found = markets_of(resource)["closed_markets_are_settled"]
    assert (found.passed, found.metadata["of"].value, found.metadata["left_out"].value) == (True, 0, 3)


def test_a_market_without_a_result_is_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("UPDATE market_data.market SET status = 'closed', result = NULL WHERE ticker LIKE '%118749.99'")
    found = markets_of(resource)["closed_markets_are_settled"]
    assert (found.passed, found.severity, detail(found)) == (
        False,
        dg.AssetCheckSeverity.WARN,
        "KXBTCD-A-T118749.99 closed",
    )


def test_a_higher_strike_that_is_dearer_is_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute(
        "UPDATE market_data.market_candle SET yes_bid_close = 0.46, yes_bid_high = 0.46, yes_ask_close = 0.5,"
        " yes_ask_high = 0.5 FROM market_data.market WHERE market.market_id = market_candle.market_id"
        " AND ticker LIKE '%%118999.99' AND ends_at = %s",
        [CLOSE - timedelta(minutes=7)],
    )
    found = candles_of(resource)["ladder_monotone"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert detail(found) == f"KXBTCD-A-T118999.99 {CLOSE - timedelta(minutes=7):%Y-%m-%d %H:%M}"


def test_the_same_tickers_on_another_exchange_are_judged_apart(owner: Connection, resource: DatabaseResource) -> None:
    ids = store_event(owner, "simulated")
    dear = (("0.10", "0.13"), ("0.05", "0.06"), ("0.01", "0.02"))
    fetched = [(ids[name], candles(name, *prices)) for name, prices in zip(ids, dear, strict=True)]
    with owner.transaction():
        store_fetched(owner, fetched, CLOSE)
    found = candles_of(resource)["ladder_monotone"]
    assert (found.passed, found.metadata["of"].value) == (True, 360)


def test_a_crossed_candle_is_found(owner: Connection, resource: DatabaseResource) -> None:
    owner.execute("UPDATE market_data.market_candle SET yes_bid_close = 0.86 WHERE yes_ask_close = 0.84")
    found = candles_of(resource)["candles_not_crossed"]
    assert (found.passed, found.severity, found.metadata["broken"].value) == (False, dg.AssetCheckSeverity.WARN, 60)


def test_minutes_without_a_candle_are_found(owner: Connection, resource: DatabaseResource) -> None:
    gap = "DELETE FROM market_data.market_candle WHERE ends_at > %s AND ends_at <= %s"
    owner.execute(
        f"{gap} AND market_id = (SELECT min(market_id) FROM market_data.market)", [CLOSE - timedelta(hours=1), CLOSE]
    )
    assert candles_of(resource)["minutes_have_candles"].passed, "the others of the event have them"
    owner.execute(gap, [CLOSE - timedelta(minutes=12), CLOSE - timedelta(minutes=10)])
    found = candles_of(resource)["minutes_have_candles"]
    assert (found.passed, found.severity, detail(found)) == (False, dg.AssetCheckSeverity.WARN, "KXBTCD-A 2 min")


def test_crossed_quotes_are_found(owner: Connection) -> None:
    create_day_partitions(owner, [(CLOSE - timedelta(hours=1)).date(), CLOSE.date()], ["market_quote"])
    owner.execute(
        "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid, no_bid)"
        " SELECT market_id, closes_at - interval '5 minutes', bids.yes, bids.no FROM market_data.market"
        " JOIN (VALUES ('118499.99', 0.8, 0.2), ('118749.99', 0.4, 0.61), ('118999.99', NULL, 0.9)) AS bids (strike, yes, no)"
        " ON ticker LIKE '%' || bids.strike"
    )
    span = (CLOSE - timedelta(hours=1), CLOSE)
    counts = read_quote_counts(owner, "BTC", *span)
    assert (counts.quotes, counts.crossed) == (3, 1), "locked is not crossed"
    found = check_quotes_not_crossed(counts)
    assert (found.passed, found.detail) == (
        False,
        f"KXBTCD-A-T118749.99 {CLOSE - timedelta(minutes=5):%Y-%m-%d %H:%M:%S}",
    )
    assert read_quote_counts(owner, "ETH", *span).quotes == 0
    assert read_quote_counts(owner, "BTC", CLOSE, CLOSE + timedelta(days=1)).quotes == 0


def test_old_quotes_of_an_open_event_are_found(owner: Connection) -> None:
    now = CLOSE + timedelta(minutes=30)
    create_day_partitions(owner, {CLOSE.date(), now.date()}, ["market_quote"])
    for event, closes_at in (("KXBTCD-B", CLOSE + timedelta(hours=1)), ("KXBTCD-LONG", CLOSE + timedelta(hours=20))):
        described = market(STRIKES[0], event, closes_at, opens_at=CLOSE)
        upsert_markets(owner, "kalshi", [MarketRecord("BTC", MARKET_RULE, listing(described))])
    [age] = read_quote_ages(owner, "BTC", "kalshi", now)
    assert (age.event_ticker, age.opens_at, age.newest_at) == ("KXBTCD-B", CLOSE, None)
    assert check_quote_ages([age], now).detail == "KXBTCD-B 1800 s"
    owner.execute(
        "INSERT INTO market_data.market_quote (market_id, quoted_at) SELECT market_id, %s FROM market_data.market"
        " WHERE event_ticker = 'KXBTCD-B'",
        [now - timedelta(minutes=2)],
    )
    assert check_quote_ages(read_quote_ages(owner, "BTC", "kalshi", now), now).passed
    late = now + timedelta(minutes=2)
    assert check_quote_ages(read_quote_ages(owner, "BTC", "kalshi", late), late).detail == "KXBTCD-B 240 s"
    assert read_quote_ages(owner, "BTC", "simulated", now) == []
    assert read_quote_ages(owner, "BTC", "kalshi", now - timedelta(hours=3)) == []


def test_missing_partitions_are_found(owner: Connection) -> None:
    create_day_partitions(owner, upcoming_days(datetime.now(UTC)))
    assert count_days_ahead(owner) == 7
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    owner.execute(f"DROP TABLE market_data.market_quote_{tomorrow:%Y%m%d}")  # type: ignore[arg-type]
    assert count_days_ahead(owner) == 6
