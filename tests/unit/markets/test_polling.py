"""How often the feed asks, and its settings of its client."""

from datetime import timedelta

from market_feeds import START

from pipelines.configuration.sections import MarketSettings
from pipelines.domain.markets.board import MarketSource
from pipelines.markets.client import BASE_URL
from pipelines.markets.polling import is_due, poll_settings


def test_the_feeds_client_repeats_nothing_and_keeps_the_limit() -> None:
    found = poll_settings(MarketSettings(requests_per_second=3.0))
    assert (found.base_url, found.attempts, found.requests_per_second) == (BASE_URL, 1, 3.0)


def test_an_address_replaces_that_of_the_settings() -> None:
    settings = MarketSettings(url="http://127.0.0.1:1/trade-api/v2")
    assert poll_settings(settings).base_url == "http://127.0.0.1:1/trade-api/v2"
    assert poll_settings(settings, "http://127.0.0.1:2/v2").base_url == "http://127.0.0.1:2/v2"


def test_the_client_knows_the_source() -> None:
    assert poll_settings(MarketSettings(source=MarketSource.KALSHI)).source is MarketSource.KALSHI


def test_what_was_never_done_is_due_and_so_is_what_was_done_in_the_future() -> None:
    assert is_due(None, START, 60.0)
    assert not is_due(START, START + timedelta(seconds=59), 60.0)
    assert is_due(START, START + timedelta(seconds=60), 60.0)
    assert is_due(START, START - timedelta(seconds=1), 60.0)
