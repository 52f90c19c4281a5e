"""One symbol within a live session: its recent ticks, its published generation, its file."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from psycopg_pool import AsyncConnectionPool

from pipelines.domain.bars import Floats
from pipelines.domain.config import ModelConfig, Profile
from pipelines.domain.fingerprint import FingerprintSet
from pipelines.domain.ladder import (
    LadderAnswers,
    LiveState,
    Tick,
    TickHistory,
    answer_ladder,
    answer_ladder_from,
    ladder_strikes_usd,
    live_payload,
    ttc_seconds,
)
from pipelines.domain.lookup import LookupRow
from pipelines.domain.naming import fingerprint_table
from pipelines.live.output import probabilities_path, write_json
from pipelines.storage.database import AsyncConnection
from pipelines.storage.generations import ModelVersion
from pipelines.storage.queries import query
from pipelines.storage.tables import lookup_parameters, lookup_rows

#: One (bucket, TTC) row is 2 kB in memory; an hour at one bucket needs 710.
CACHED_ROWS = 4096
HISTORY = timedelta(minutes=33)
#: A fingerprint side without evidence.
NOTHING = np.full((1, 1), np.nan)


@dataclass
class SymbolRefresher:
    """Turns what is known of one symbol into its probability file. Not shared between tasks."""

    symbol: str
    tier_usd: float
    output_dir: Path
    version: ModelVersion | None = None
    baseline: FingerprintSet | None = None
    ticks: TickHistory = field(default_factory=lambda: TickHistory(ModelConfig()))
    cycles: int = 0
    _cache: "OrderedDict[tuple[int, int], LookupRow]" = field(default_factory=OrderedDict)

    def use_version(self, version: ModelVersion, baseline: FingerprintSet | None) -> None:
        """Answer from another generation from now on; `baseline` is None where it has none (imported tables)."""
        if self.version is None or self.version.generation != version.generation:
            self.version, self.baseline = version, baseline
            self.ticks.use_config(version.model_config)
            self._cache.clear()

    async def refresh(self, pool: AsyncConnectionPool[AsyncConnection], now: datetime) -> bool:
        """Read the new ticks, answer the ladder, replace the file; False when there is no price at all yet."""
        async with pool.connection() as connection:
            await self._read_ticks(connection, now)
            tick = self.ticks.latest
            if tick is None:
                return False
            score_pct, bucket = self.ticks.momentum()
            strikes = ladder_strikes_usd(tick.price_usd, self.tier_usd)
            answers, problems = await self._answer(connection, tick, strikes, bucket, ttc_seconds(now))
        state = LiveState(
            now=now,
            tick=tick,
            momentum_score_pct=score_pct,
            momentum_bucket=bucket,
            fingerprint_table=None if self.version is None else fingerprint_table(self.symbol, bucket),
            generation=None if self.version is None else self.version.generation,
        )
        write_json(
            probabilities_path(self.output_dir, self.symbol), live_payload(state, self.tier_usd, answers, problems)
        )
        self.cycles += 1
        return True

    async def _read_ticks(self, connection: AsyncConnection, now: datetime) -> None:
        latest = self.ticks.latest
        since = now - HISTORY if latest is None else latest.at
        cursor = await connection.execute(query("live_tick_history"), [self.symbol, since], prepare=True)
        for ticked_at, price in await cursor.fetchall():
            if ticked_at <= now:
                self.ticks.add(Tick(ticked_at, price))

    async def _answer(
        self, connection: AsyncConnection, tick: Tick, strikes: Floats, bucket: int | None, ttc: int
    ) -> tuple[LadderAnswers, list[str]]:
        """Answers, and what is wrong with them in plain words."""
        baseline = self.baseline
        if self.version is None or (bucket is None and baseline is None):
            answers = answer_ladder_from(tick.price_usd, strikes, ttc, NOTHING, NOTHING, (0,), Profile.SOUND, 0.0)
            missing = "there is neither momentum nor a baseline" if self.version else "no generation is published"
            return answers, [f"{missing} for {self.symbol}"]
        if bucket is None and baseline is not None:
            answers = answer_ladder_from(
                tick.price_usd, strikes, ttc, baseline.positive[0], baseline.negative[0], baseline.nodes,
                Profile(self.version.profile), float(baseline.n_eff[0].min()),
            )  # fmt: skip
            return answers, ["momentum is not known: the baseline answers"]
        assert bucket is not None
        rows = await self._lookup_rows(connection, self.version, bucket, ttc)
        return answer_ladder(tick.price_usd, strikes, ttc, rows, self.version.axes), []

    async def _lookup_rows(
        self, connection: AsyncConnection, version: ModelVersion, bucket: int, ttc: int
    ) -> dict[int, LookupRow]:
        nodes = version.axes.nodes_around(ttc)
        if any((bucket, node) not in self._cache for node in nodes):
            parameters = lookup_parameters(version.generation, bucket, version.axes, ttc)
            cursor = await connection.execute(query("lookup_rows"), parameters, prepare=True, binary=True)
            for node, row in lookup_rows(cursor.pgresult).items():
                self._cache[bucket, node] = row
            while len(self._cache) > CACHED_ROWS:
                self._cache.popitem(last=False)
        return {node: self._cache[bucket, node] for node in nodes}
