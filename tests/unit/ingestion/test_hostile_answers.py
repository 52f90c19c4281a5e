"""Answers of an exchange of any content: quotes and candles, or one line that says why not."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from aiohttp import web
from exchange_server import Exchange, running_exchange
from fuzzing import accepted_or_refused, examples
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StrikecastError
from pipelines.ingestion.exchange import fetch_candles, load_markets, new_client, require_market
from pipelines.ingestion.price_files import stage_candles
from pipelines.live.feeds.exchange import PollingSource

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=20)
#: Path of each answer below the exchange's own, with parameters for the answer that is mutated.
ANSWERS = {
    "coinbaseexchange": (
        "coinbase",
        "BTC/USD",
        ("/products", "/products/BTC-USD/ticker", f"/products/BTC-USD/candles?start={SINCE:%FT%TZ}&end={NOW:%FT%TZ}"),
    ),
    "kraken": (
        "kraken",
        "BTC/USD",
        (
            "/0/public/AssetPairs",
            "/0/public/Ticker?pair=XXBTZUSD",
            f"/0/public/OHLC?pair=XXBTZUSD&interval=1&since={int(SINCE.timestamp())}",
        ),
    ),
    "binance": (
        "binance",
        "BTC/USDT",
        (
            "/api/v3/exchangeInfo",
            "/api/v3/ticker/24hr?symbol=BTCUSDT",
            f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={int(SINCE.timestamp())}000&limit=20",
        ),
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Exchange]:
    """An exchange whose clock stands still."""
    with running_exchange() as found:
        found.stopped_at = NOW.timestamp()
        yield found


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            10**400,
            -1,
            0,
            2**64,
            1e308,
            -1e308,
            float("nan"),
            float("inf"),
            "nan",
            "-1",
            "1e999",
            "9" * 400,
            "",
            "\x1b[31m",
            "\u202e",
            "�",
            "x" * 500,
            "1970-01-01T00:00:00Z",
            "99999-01-01T00:00:00Z",
            [],
            {},
            [[]],
        ]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key of a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutated(answer: bytes, changes: list[tuple[float, str, Any]]) -> bytes:
    root = [json.loads(answer)]
    for share, kind, value in changes:
        found = list(places(root))
        container, key = found[int(share * len(found))]
        if kind == "replace" or container is root:
            container[key] = deepcopy(value)  # a drawn list is one object, which would come to contain itself
        elif kind == "remove":
            del container[key]
        elif kind == "repeat" and isinstance(container, list):
            container.append(deepcopy(container[key]))
        else:
            container[key] = [container[key]]
    return json.dumps(root[0]).encode()


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["replace"] * 4 + ["remove", "repeat", "wrap"]), VALUES
    ),
    min_size=1,
    max_size=4,
)
BODIES = {
    "empty": b"",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "a page": b"<html>\x1b[31m",
    "a long number": b"9" * 10_000,
    "no text": b"\xff\xfe",
    "null": b"null",
}
DAMAGE = st.one_of(
    st.just(None),
    st.just(None),
    st.tuples(st.floats(0, 1), st.binary(max_size=4)),
    st.sampled_from(sorted(BODIES)),
)


@contextmanager
def answering(server: Exchange, path: str, body: bytes) -> Iterator[None]:
    """Every request below the path is answered with these bytes."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    server.faults.clear()
    server.fail(path, *[answer] * 20)
    try:
        yield
    finally:
        server.faults.clear()


async def ask(server: Exchange, name: str) -> None:
    """What a feed and a backfill ask an exchange for."""
    market = ANSWERS[name][1]
    config = server.settings(name, timeout_seconds=5.0, poll_seconds=0.001)
    client = new_client(config)
    client.enableRateLimit = False
    try:
        await load_markets(client, name)
        require_market(client, name, market)
        for quote in await PollingSource(config, "BTC", market, client).quotes():
            assert isinstance(quote.price_usd, float)
        candles = await fetch_candles(client, name, market, SINCE, 20)
        if candles:
            with stage_candles(name, candles, NOW) as staged:
                for block in staged.blocks():
                    assert (block.values[:4] > 0).all()
                    assert (block.values[1] >= block.values[2]).all()
    finally:
        await client.close()


@examples(40, 1_500)
@given(st.sampled_from(sorted(ANSWERS)), st.integers(0, 2), CHANGES, DAMAGE)
def test_an_answer_of_any_content_gives_prices_or_one_line(
    server: Exchange, name: str, which: int, changes: list[tuple[float, str, Any]], damage: Any
) -> None:
    prefix, _, paths = ANSWERS[name]
    with urlopen(f"{server.url}/{prefix}{paths[which]}") as response:  # noqa: S310 (a local server)
        body = response.read()
    body = mutated(body, changes)
    if isinstance(damage, str):
        body = BODIES[damage]
    elif damage is not None:
        at = int(damage[0] * len(body))
        body = body[:at] + damage[1] + body[at + 1 :]
    with answering(server, f"/{prefix}{paths[which].split('?')[0]}", body), accepted_or_refused():
        asyncio.run(ask(server, name))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_unchanged_answers_give_prices(server: Exchange, name: str) -> None:
    asyncio.run(ask(server, name))


def test_an_answer_of_control_characters_is_one_printable_line(server: Exchange) -> None:
    body = json.dumps({"message": "\x1b[31m\u202e" * 3_000}).encode()
    with (
        answering(server, "/coinbase/products/BTC-USD/ticker", body),
        pytest.raises(StrikecastError) as error,
    ):
        asyncio.run(ask(server, "coinbaseexchange"))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
