"""`strikecast markets simulate` on stored prices: the real process, killed and started again."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import avoid_hour_boundary, wait_until

from pipelines.markets.address import market_url, running_simulation
from pipelines.markets.client import ClientSettings, MarketClient, MarketFilter
from pipelines.markets.simulation.index import PriceHistory
from pipelines.markets.simulation.price_reader import PriceReader
from pipelines.settings import Settings, load_settings
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.postgres.connection import Database, Role

pytestmark = pytest.mark.slow

HOURS = 3


@pytest.fixture
def prices(database: Database) -> Iterator[Database]:
    """Two prices a second of BTC, replayed, for the last hours and the next minutes; of another source at other values."""
    with database.connect("test", None, autocommit=True) as connection:
        today = datetime.now(UTC).date()
        create_day_partitions(connection, [today - timedelta(days=1), today, today + timedelta(days=1)])
        for source, price, offset in (("replay", 118_000.0, 0), ("feed", 50_000.0, 100)):
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
                "SELECT 'BTC', at + %s * interval '1 ms', %s * exp(0.002 * sin(extract(epoch FROM at) / 700)), %s FROM generate_series("
                "date_trunc('second', now()) - %s * interval '1 hour', now() + interval '50 s', interval '500 ms') AS at",
                [offset, price, source, HOURS],
            )
        yield database
        connection.execute("TRUNCATE live_data.price_log")


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Settings:
    return load_settings(home=tmp_path, database_url=database.url, markets={"source": "simulated"})


@contextmanager
def simulation(settings: Settings, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The process of `strikecast markets simulate`, once its exchange can be asked."""
    assert settings.database_url is not None
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STRIKECAST_")},
        "STRIKECAST_HOME": str(settings.home),
        "STRIKECAST_DATABASE_URL": settings.database_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "pipelines.cli", "markets", "simulate", "--symbol", "BTC", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: running_simulation(settings) is not None or process.poll() is not None, "its address")
            yield process
        finally:
            process.terminate()


def ask(settings: Settings) -> tuple[bool, list[Any], list[Any]]:
    """Whether it trades, its open markets without quotes, and its settled ones."""

    async def run() -> tuple[bool, list[Any], list[Any]]:
        async with MarketClient(ClientSettings(base_url=market_url(settings))) as client:
            status = await client.exchange_status()
            events, _ = await client.events("KXBTCD")
            settled = await client.markets("KXBTCD", MarketFilter.SETTLED)
            listed = [one.market for event in events for one in event.markets.listings]
            return status.trading_active, listed, [(one.market, one.index_value_usd) for one in settled.listings]

    return asyncio.run(run())


@pytest.mark.embedded_only
def test_a_killed_exchange_comes_back_with_the_same_markets_and_results(prices: Database, home: Settings) -> None:
    avoid_hour_boundary(120)
    with simulation(home) as process:
        wait_until(lambda: ask(home)[2], "settled markets")
        trading, listed, settled = ask(home)
        assert trading
        assert {market.status for market in listed} == {"active"}
        assert all(110_000 < value < 125_000 for _, value in settled if value is not None), "replayed prices only"
        process.kill()
        process.wait()
        assert running_simulation(home) is None
        assert (home.home / "simulated_exchange.json").exists()
    with simulation(home):
        wait_until(lambda: ask(home)[2], "settled markets")
        _, again, settled_again = ask(home)
        assert again == listed
        assert settled_again == settled
    with simulation(home, "--seed", "5"):
        wait_until(lambda: ask(home)[2], "settled markets")
        assert ask(home)[2] != settled


@pytest.mark.embedded_only
def test_changed_settings_are_used_at_the_same_address(prices: Database, home: Settings) -> None:
    async def quarter_hours() -> int:
        async with MarketClient(ClientSettings(base_url=market_url(home))) as client:
            return len((await client.markets("KXBTC15M")).listings)

    with simulation(home):
        url = market_url(home)
        assert asyncio.run(quarter_hours()) == 0
        file = home.home / "strikecast.toml"
        file.write_text('[symbols.BTC]\nseries = ["KXBTC15M"]\n')
        wait_until(lambda: running_simulation(home) and asyncio.run(quarter_hours()) == 1, "the other series")
        file.write_text('[symbols.BTC]\nseries = ["KXBTC15M", "KXBTC15M"]\n')
        file.write_text('[symbols.BTC]\nseries = ["KXBTCD", "KXBTC15M"]\n')
        wait_until(lambda: ask(home)[1], "both series")
        assert market_url(home) == url


@pytest.mark.embedded_only
def test_it_says_where_it_is_and_leaves_nothing_behind(database: Database, home: Settings) -> None:
    with simulation(home) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"simulated exchange: {market_url(home)} (seed 0; KXBTCD)\n"
        assert ask(home) == (False, [], []), "it is paused without prices"
        process.terminate()
        assert process.wait() == 0
    assert not (home.home / "simulated_exchange.json").exists()
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(home.home) in " ".join(one.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("replayed", [True, False])
def test_the_reader_takes_the_last_price_of_each_second_of_one_kind(prices: Database, replayed: bool) -> None:
    async def read() -> PriceHistory:
        history, now = PriceHistory(), datetime.now(UTC)
        reader = PriceReader({"BTC": history}, pytest.fail, replayed=replayed)
        async with prices.async_pool("test", Role.READER) as pool:
            await reader.read(pool, now - timedelta(minutes=30))
            before = len(history.ticked_ms)
            await reader.read(pool, now)
            assert len(history.ticked_ms) == pytest.approx(before + 1_800, abs=2)
        return history

    history = asyncio.run(read())
    assert len(history.ticked_ms) == pytest.approx(HOURS * 3_600, abs=60)
    assert set((history.ticked_ms % 1_000).tolist()) <= {0, 100, 500, 600}
    level = 118_000.0 if replayed else 50_000.0
    assert ((history.prices_usd > level * 0.99) & (history.prices_usd < level * 1.01)).all()


def test_a_database_that_cannot_be_read_is_reported_once(database: Database) -> None:
    async def read() -> list[str]:
        messages: list[str] = []
        nowhere = Database(database.url_for("there_is_none"))
        reader = PriceReader({"BTC": PriceHistory()}, messages.append, replayed=True)
        async with nowhere.async_pool("test", Role.READER) as pool:
            for _ in range(2):
                await reader.read(pool, datetime.now(UTC))
        async with database.async_pool("test", Role.READER) as pool:
            await reader.read(pool, datetime.now(UTC))
        return messages

    failed, works = asyncio.run(read())
    assert failed.startswith("prices cannot be read: ")
    assert works == "prices are read again"
