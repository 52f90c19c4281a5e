"""The process of the simulated exchange: serve it on the stored prices until SIGINT or SIGTERM."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from pipelines.configuration.sections import FeedKind
from pipelines.deployment import configured_database, has_database, running_server
from pipelines.errors import SettingsError
from pipelines.log import Log
from pipelines.markets.address import announce_simulation, withdraw_simulation
from pipelines.markets.simulation.app import create_app
from pipelines.markets.simulation.configured import configured_series
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.index import PriceHistory
from pipelines.markets.simulation.price_reader import PriceReader
from pipelines.markets.simulation.series import Series
from pipelines.markets.simulation.server import serving
from pipelines.settings import CurrentSettings, Settings
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.postgres.connection import AsyncPool, Role

APPLICATION = "simulated exchange"
READ_SECONDS = 1.0
#: The address is written again, and the settings are read, every so many reads.
CHECK_READS = 5


@dataclass
class Simulation:
    """Serves the simulated exchange of `series` of symbols, by default all, until SIGINT or SIGTERM.

    `port`: 0 takes a free one, and keeps it. `show` gets the address, once it can be asked.
    """

    settings: Settings
    port: int
    seed: int
    symbols: Sequence[str] | None
    log: Log
    show: Callable[[str], None]
    #: Why changed settings are not used.
    _problem: str | None = field(default=None, init=False)

    def run(self) -> None:
        """Serve; starts the embedded database if it has been created.

        Raises SettingsError when the port is taken, and without series.
        """
        series = configured_series(self.settings, self.symbols)
        with ExitStack() as stack:
            if has_database(self.settings):
                stack.enter_context(running_server(self.settings, self.log))
            else:
                self.log("there is no database yet, and so no prices: `strikecast up` creates it")
            stack.callback(withdraw_simulation, self.settings)
            asyncio.run(self._serve(series))

    async def _serve(self, series: tuple[Series, ...]) -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        current = CurrentSettings(self.settings, self.log)
        async with with_timeouts(configured_database(self.settings)).async_pool(
            APPLICATION, Role.READER, maximum=1
        ) as pool:
            while not stopped.is_set():
                histories = {one.symbol: PriceHistory() for one in series}
                reader = PriceReader(histories, self.log, replayed=self.settings.feed is FeedKind.REPLAY)
                app = create_app(SimulatedExchange(series, histories, self.seed), partial(datetime.now, UTC))
                async with serving(app, self.port) as url:
                    self.port = urlsplit(url).port or 0
                    names = ", ".join(one.ticker for one in series)
                    self.show(f"simulated exchange: {url} (seed {self.seed}; {names})")
                    series = await self._follow(pool, reader, series, url, current, stopped)

    async def _follow(
        self,
        pool: AsyncPool,
        reader: PriceReader,
        series: tuple[Series, ...],
        url: str,
        current: CurrentSettings,
        stopped: asyncio.Event,
    ) -> tuple[Series, ...]:
        """Read prices until the end, or until the settings want other series or prices; returns the series wanted."""
        reads = 0
        while not stopped.is_set():
            if reads % CHECK_READS == 0:
                announce_simulation(self.settings, url)
                wanted = self._wanted(current(), series)
                if wanted != series or current().feed is not self.settings.feed:
                    self.log("the settings have changed: starting the simulated exchange anew")
                    self.settings = current()
                    return wanted
            await reader.read(pool, datetime.now(UTC))
            reads += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), READ_SECONDS)
        return series

    def _wanted(self, settings: Settings, series: tuple[Series, ...]) -> tuple[Series, ...]:
        """The series of changed settings, or those before where these cannot be used."""
        try:
            wanted = configured_series(settings, self.symbols)
        except SettingsError as error:
            self._report(str(error))
            return series
        self._report(None)
        return wanted

    def _report(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            self.log(f"the changed settings are not used: {problem}")
        self._problem = problem
