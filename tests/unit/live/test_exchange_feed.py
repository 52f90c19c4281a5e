"""The exchange feed with the real ccxt client against a local server: prices are delivered, and faults are survived."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from exchange_server import Exchange, Fault, garbage, other_shape, stall, status
from pydantic import SecretStr
from waiting import TIMEOUT_SECONDS

from pipelines.configuration.sections import ExchangeSettings, Transport
from pipelines.domain.prices.ticks import QuoteValidator, Tick
from pipelines.errors import FeedError, SettingsError
from pipelines.ingestion.exchange import new_client
from pipelines.live.feeds.exchange import ExchangeFeed
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.metrics import SessionMetrics
from pipelines.sources.retries import RetryPolicy

pytestmark = pytest.mark.slow

#: Short timeouts; the source is paused after three failures.
POLICY = RetryPolicy(stall_seconds=1.5, max_failures=3, pause_seconds=1, max_wait_seconds=0.2)
MARKETS = {"coinbaseexchange": "/USD", "kraken": "/USD", "binance": "/USDT"}


@dataclass
class Listening:
    """A running feed, with the ticks that it delivered and the lines that it logged."""

    feed: ExchangeFeed
    ticks: list[tuple[str, Tick]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    metrics: SessionMetrics = field(default_factory=SessionMetrics)
    runners: list[SourceRunner] = field(default_factory=list)

    def deliver(self, ticks: Sequence[tuple[str, Tick]], _: datetime) -> None:
        self.ticks += ticks

    def prices(self, symbol: str = "BTC") -> list[float]:
        return [tick.price_usd for name, tick in self.ticks if name == symbol]

    def problems(self, symbol: str = "BTC") -> list[str]:
        return [problem for runner in self.runners for problem in runner.problems(symbol)]


def listen(
    exchange: Exchange,
    steps: Sequence[Callable[[Listening], object]],
    name: str = "coinbaseexchange",
    *,
    websocket: bool = False,
    symbols: Sequence[str] = ("BTC",),
    **changes: object,
) -> Listening:
    """Run a feed; each step is repeated until it returns a true value, then the next."""

    async def run() -> Listening:
        settings = exchange.settings(name, websocket=websocket, **changes)
        feed = ExchangeFeed(settings, {symbol: symbol + MARKETS[name] for symbol in symbols})
        listening = Listening(feed)
        validators = {symbol: QuoteValidator(max_repeat=feed.max_repeat) for symbol in symbols}
        listening.runners = [
            SourceRunner(one, validators, listening.metrics, listening.deliver, listening.logged.append, POLICY)
            for one in feed.sources
        ]
        await feed.prepare()
        tasks = [asyncio.create_task(runner.run()) for runner in listening.runners]
        try:
            for number, step in enumerate(steps):
                deadline = time.monotonic() + TIMEOUT_SECONDS
                while not await asyncio.to_thread(step, listening):
                    assert time.monotonic() < deadline, f"step {number}: {listening.ticks[-3:]} {listening.logged}"
                    await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await feed.close()
        return listening

    return asyncio.run(run())


def does(work: Callable[[], object]) -> Callable[[Listening], bool]:
    """A step that is executed once."""

    def step(_: Listening) -> bool:
        work()
        return True

    return step


def has(price: float, symbol: str = "BTC") -> Callable[[Listening], bool]:
    return lambda listening: price in listening.prices(symbol)


@pytest.mark.parametrize(
    ("name", "websocket"),
    [
        ("coinbaseexchange", False),
        ("coinbaseexchange", True),
        ("kraken", False),
        ("kraken", True),
        ("binance", False),
    ],
)
def test_each_exchange_delivers_prices(exchange: Exchange, name: str, websocket: bool) -> None:
    listening = listen(
        exchange,
        [has(100_000.0), does(lambda: exchange.tick("BTC", 100_010.5)), has(100_010.5)],
        name,
        websocket=websocket,
    )
    assert listening.feed.name == name
    assert listening.problems() == []
    instants = [tick.at for _, tick in listening.ticks]
    assert instants == sorted(instants)
    assert abs(datetime.now(UTC) - instants[-1]) < timedelta(minutes=1)


def test_a_tick_has_the_time_of_the_exchange(exchange: Exchange) -> None:
    made = round(time.time() - 1.5, 3)
    exchange.tick("BTC", 100_001.0, made)
    listening = listen(exchange, [has(100_001.0)])
    assert listening.ticks[0][1].at == datetime.fromtimestamp(made, UTC)


def test_polling_stays_within_the_configured_pace_and_the_exchanges_limit(exchange: Exchange) -> None:
    listening = listen(exchange, [lambda listening: len(listening.ticks) >= 8], poll_seconds=0.01)
    requests = [path for path in exchange.requests if path.endswith("/ticker")]
    assert len(requests) <= len(listening.ticks) + 2
    spread = listening.ticks[-1][1].at - listening.ticks[0][1].at
    assert spread >= timedelta(seconds=0.09 * (len(listening.ticks) - 2)), "Coinbase allows ten requests a second"


def odd_time(text: str) -> Fault:
    """A ticker with an impossible time."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"price": "100000.0", "time": text, "bid": "1", "ask": "2", "volume": "3"})

    return answer


FAULTS: dict[str, Fault] = {
    "429": status(429, '{"message": "Slow rate limit exceeded"}'),
    "500": status(500),
    "503": status(503, "<html>down</html>"),
    "not found": status(404, '{"message": "NotFound"}'),
    "malformed JSON": garbage,
    "another shape": other_shape,
    "stalled": stall,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_request_is_reported_and_retried(exchange: Exchange, fault: str) -> None:
    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(lambda: exchange.fail("/coinbase/products/BTC-USD/ticker", FAULTS[fault], FAULTS[fault])),
            lambda listening: listening.metrics.source_failures >= 2,
            does(lambda: exchange.tick("BTC", 100_020.0)),
            has(100_020.0),
        ],
        timeout_seconds=1.0 if fault == "stalled" else 60.0,
    )
    assert listening.logged[0].startswith("coinbaseexchange BTC: ")
    assert listening.logged[-1] == "coinbaseexchange BTC: delivers again"
    assert listening.problems() == []


@pytest.mark.parametrize("time_of_trade", ["1970-01-21T18:32:04.123Z", "1969-12-31T00:00:00Z", "now", ""])
def test_an_impossible_time_is_replaced_by_the_local_clock(exchange: Exchange, time_of_trade: str) -> None:
    listening = listen(
        exchange,
        [
            does(lambda: exchange.fail("/coinbase/products/BTC-USD/ticker", *[odd_time(time_of_trade)] * 3)),
            has(100_000.0),
            does(lambda: exchange.tick("BTC", 100_020.0)),
            has(100_020.0),
        ],
    )
    assert all(tick.at > datetime.now(UTC) - timedelta(minutes=1) for _, tick in listening.ticks)


def test_control_characters_of_an_exchange_are_removed(exchange: Exchange) -> None:
    rude = status(500, '{"message": "\\u001b]52;c;aGk=\\u0007\\u001b[2J no"}')
    exchange.fail("/coinbase/products/BTC-USD/ticker", rude)
    listening = listen(exchange, [has(100_000.0)])
    assert "coinbaseexchange BTC" in listening.logged[0]
    assert all(text.isprintable() for text in listening.logged)


def test_a_failing_symbol_never_stops_the_others(exchange: Exchange) -> None:
    exchange.fail("/coinbase/products/BTC-USD/ticker", *[status(500)] * 1000)

    def step(listening: Listening) -> bool:
        return len(listening.prices("ETH")) > 20 and bool(listening.problems("BTC"))

    listening = listen(exchange, [step], symbols=("BTC", "ETH"))
    assert listening.prices("BTC") == []
    assert listening.problems("ETH") == []


def test_a_source_is_paused_after_repeated_failures(exchange: Exchange) -> None:
    requested_at: list[float] = []

    async def refuse(request: object) -> object:
        del request
        requested_at.append(time.monotonic())
        return await status(500)(None)  # type: ignore[arg-type]

    exchange.fail("/coinbase/products/BTC-USD/ticker", *[refuse] * 4)
    listening = listen(exchange, [has(100_000.0)])
    pauses = [text for text in listening.logged if "paused for 1 s after 3 failures" in text]
    assert pauses
    assert requested_at[3] - requested_at[2] >= 1.0, "no request during the pause"


@pytest.mark.parametrize("name", ["coinbaseexchange", "kraken"])
def test_a_closed_socket_is_reopened(exchange: Exchange, name: str) -> None:
    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(exchange.close_sockets),
            lambda _: exchange.sockets,
            does(lambda: exchange.tick("BTC", 100_030.0)),
            has(100_030.0),
        ],
        name,
        websocket=True,
    )
    assert listening.problems() == []


def test_a_stalled_socket_is_replaced(exchange: Exchange) -> None:
    def stalls() -> None:
        exchange.mute = True

    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(stalls),
            lambda listening: any("no quote for 1.5 s" in text for text in listening.logged),
            does(lambda: setattr(exchange, "mute", False)),
            does(lambda: exchange.tick("BTC", 100_040.0)),
            has(100_040.0),
        ],
        websocket=True,
    )
    assert listening.logged[-1] == "coinbaseexchange BTC: delivers again"


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"type": "ticker"}', '{"type": "error", "message": "Failed", "reason": "x"}']
)
def test_unknown_messages_do_not_stop_the_feed(exchange: Exchange, text: str) -> None:
    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(lambda: exchange.send_raw(text)),
            lambda _: exchange.sockets,
            does(lambda: exchange.tick("BTC", 100_050.0)),
            has(100_050.0),
        ],
        websocket=True,
    )
    assert set(listening.prices()) <= {100_000.0, 100_050.0}


def test_a_clock_that_is_ahead_is_reported_and_replaced_by_the_local_clock(exchange: Exchange) -> None:
    exchange.clock_offset_seconds = 45.0
    listening = listen(exchange, [lambda listening: listening.problems()])
    assert "s ahead of this machine's clock" in listening.problems()[0]
    assert all(tick.at <= datetime.now(UTC) for _, tick in listening.ticks)


def test_trades_out_of_order_or_repeated_give_increasing_times(exchange: Exchange) -> None:
    now = time.time()
    exchange.trade_times["BTC"] = now - 10
    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(lambda: exchange.tick("BTC", 100_061.0, now - 5)),
            has(100_061.0),
            does(lambda: exchange.tick("BTC", 100_062.0, now - 7)),
            does(lambda: exchange.tick("BTC", 100_063.0, now - 4)),
            does(lambda: exchange.send("BTC")),
            has(100_063.0),
        ],
        websocket=True,
    )
    assert 100_062.0 not in listening.prices()
    instants = [tick.at for _, tick in listening.ticks]
    assert instants == sorted(set(instants))


@pytest.mark.parametrize("name", ["coinbaseexchange", "kraken"])
def test_an_exchange_that_repeats_its_last_trade_is_reported(exchange: Exchange, name: str) -> None:
    """Kraken's tickers have no time: one that does not change in any field is a repetition."""
    exchange.tick("BTC", 100_000.0, time.time())
    listening = listen(
        exchange,
        [
            lambda listening: any("repeats its last price" in problem for problem in listening.problems()),
            does(lambda: exchange.tick("BTC", 100_001.0, time.time())),
            has(100_001.0),
        ],
        name,
        max_repeat_seconds=2.5,
    )
    first, *_, last = (tick.at for _, tick in listening.ticks if tick.price_usd == 100_000.0)
    assert timedelta(0) < last - first <= timedelta(seconds=3)


def test_absurd_prices_are_refused(exchange: Exchange) -> None:
    listening = listen(
        exchange,
        [
            has(100_000.0),
            does(lambda: exchange.tick("BTC", 1.0)),
            lambda listening: listening.metrics.refused_quotes > 0,
            does(lambda: exchange.tick("BTC", 100_070.0)),
            has(100_070.0),
        ],
        websocket=True,
    )
    assert 1.0 not in listening.prices()


def test_an_unknown_market_is_reported(exchange: Exchange) -> None:
    del exchange.prices["ETH"]
    listening = listen(exchange, [lambda listening: listening.problems("ETH"), has(100_000.0)], symbols=("BTC", "ETH"))
    assert "coinbaseexchange has no market ETH/USD" in listening.problems("ETH")[0]


def test_an_exchange_that_is_unavailable_at_the_start_is_used_later(exchange: Exchange) -> None:
    exchange.fail("/coinbase", *[status(503)] * 5)
    listening = listen(exchange, [has(100_000.0)])
    assert listening.problems() == []


def test_an_unknown_exchange_or_address_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="ccxt knows no exchange 'mtgox'"):
        ExchangeFeed(ExchangeSettings(name="mtgox"), {"BTC": "BTC/USD"})
    with pytest.raises(SettingsError, match="has no API 'wss' whose address"):
        new_client(ExchangeSettings(urls={"wss": SecretStr("ws://localhost")}))


def test_a_ticker_without_a_price_is_an_error(exchange: Exchange) -> None:
    async def ask() -> None:
        feed = ExchangeFeed(exchange.settings(), {"BTC": "BTC/USD"})
        try:
            exchange.fail("/coinbase/products/BTC-USD/ticker", status(200, '{"ask": "1", "bid": "1", "time": null}'))
            with pytest.raises(FeedError, match="coinbaseexchange BTC: the ticker has no last price"):
                await feed.sources[0].quotes()
        finally:
            await feed.close()

    asyncio.run(ask())


def test_without_a_websocket_an_exchange_is_polled() -> None:
    feed = ExchangeFeed(ExchangeSettings(name="bitbns", transport=Transport.WEBSOCKET), {"BTC": "BTC/USD"})
    assert type(feed.sources[0]).__name__ == "PollingSource"
    asyncio.run(feed.close())
