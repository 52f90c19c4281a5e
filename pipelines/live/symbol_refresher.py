"""One symbol within a live session: its recent ticks, its champion's generation, its file."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isnan
from typing import Any
from zlib import crc32

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import answers_view
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.ladder import (
    LadderAnswers,
    LadderQuery,
    LiveState,
    ladder_strikes_usd,
    live_payload,
    next_market_close,
    ttc_seconds,
)
from pipelines.domain.models.lookup import LookupRow
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.live_volatility import LiveVolatility
from pipelines.domain.prices.ticks import Tick, TickHistory, minutes_of
from pipelines.live.file_writer import ProbabilityFileWriter
from pipelines.live.metrics import SessionMetrics
from pipelines.storage.models.generations import ModelVersion
from pipelines.storage.models.tables import read_lookup_rows_async
from pipelines.storage.postgres.connection import AsyncPool

#: One (bucket, TTC) row is 2 kB in memory; an hour at one bucket needs 710.
CACHED_ROWS = 4096
#: Rows are read for at least so long ahead: one read a minute and bucket, not one in five seconds.
AHEAD_SECONDS = 60


@dataclass(frozen=True)
class Champion:
    """Who answers: a published generation, its rule, and what it needs besides.

    `baseline`: for the momentum model while momentum is unknown, None where it has none (imported tables, other
    models); `volatility`: the state that goes on with each tick, None for a rule that does not look at it; `loaded_at`
    (aware UTC): up to when ticks were read for it.
    """

    version: ModelVersion
    rule: Rule
    baseline: FingerprintSet | None
    volatility: LiveVolatility | None
    loaded_at: datetime


@dataclass
class SymbolRefresher:
    """Turns what is known of one symbol into its probability file. One task refreshes; others may hand it ticks."""

    symbol: str
    tier_usd: float
    files: ProbabilityFileWriter
    metrics: SessionMetrics
    session: int | None = None
    champion: Champion | None = None
    ticks: TickHistory = field(default_factory=lambda: TickHistory(ModelConfig()))
    #: The last refresh as a row of `live_data.answer`, None before the first that had an answer.
    answer: Mapping[str, Any] | None = None
    _last: tuple[LiveState, LadderAnswers, Sequence[str]] | None = None
    #: By generation, bucket, node: a read that is under way when `use` is called brings rows of the one before.
    _cache: "OrderedDict[tuple[int, int, int], LookupRow]" = field(default_factory=OrderedDict)

    def use(self, champion: Champion) -> None:
        """Answer from another generation from now on."""
        if champion.volatility is not None:  # what ticked while it was loaded; older ones change nothing
            champion.volatility.add_all((tick.minutes, tick.price_usd) for tick in self.ticks.since(champion.loaded_at))
        self.champion = champion
        self.ticks.use_config(champion.rule.config if isinstance(champion.rule, MomentumRule) else ModelConfig())
        self._cache.clear()

    def take(self, tick: Tick) -> bool:
        """Take in a tick; one that is not newer than the newest changes nothing, and False is returned."""
        if not self.ticks.add(tick):
            return False
        if self.champion is not None and self.champion.volatility is not None:
            self.champion.volatility.add(tick.minutes, tick.price_usd)
        return True

    async def refresh(self, pool: AsyncPool, now: datetime, problems: Sequence[str] = ()) -> str | None:
        """Answer the ladder, replace the file; its status, or None when there is no price at all yet.

        `problems`: what is wrong with the prices, in plain words. Raises SupersededError when this session may not
        write any more.
        """
        tick = self.ticks.latest
        if tick is None:
            return None
        began = time.perf_counter()
        state = self._state(tick, now)
        strikes = ladder_strikes_usd(tick.price_usd, self.tier_usd)
        state, answers, found = await self._answer(pool, state, strikes, ttc_seconds(now))
        payload = live_payload(state, self.tier_usd, answers, [*problems, *found])
        computed = time.perf_counter()
        self.files.write(self.symbol, payload)
        self.metrics.record("compute", computed - began)
        self.metrics.record("write", time.perf_counter() - computed)
        self.answer = self._row(state, answers, str(payload["status"]))
        self._last = state, answers, found
        return str(payload["status"])

    def write_failure(self, now: datetime, why: str) -> None:
        """Say in the file that there is no answer, and why; nothing without a price."""
        tick = self.ticks.latest
        if tick is not None:
            strikes = ladder_strikes_usd(tick.price_usd, self.tier_usd)
            answers = LadderAnswers.unknown(tick.price_usd, strikes)
            self.files.write(self.symbol, live_payload(self._state(tick, now), self.tier_usd, answers, [why]))

    def write_last(self, now: datetime, why: str) -> None:
        """Say in the file that nobody will renew it; nothing without an earlier refresh."""
        if self._last is not None:
            state, answers, problems = self._last
            payload = live_payload(replace(state, now=now), self.tier_usd, answers, [why, *problems], last=True)
            self.files.write(self.symbol, payload)

    def _state(self, tick: Tick, now: datetime) -> LiveState:
        score_pct, momentum_bucket = self.ticks.momentum()
        version = None if self.champion is None else self.champion.version
        return LiveState(
            now=now,
            tick=tick,
            momentum_score_pct=score_pct,
            momentum_bucket=momentum_bucket,
            fingerprint_table=None if version is None else answers_view(self.symbol, version.model, momentum_bucket),
            generation=None if version is None else version.generation,
            model=None if version is None else version.model,
            session=self.session,
        )

    async def _answer(
        self, pool: AsyncPool, state: LiveState, strikes: Floats, ttc: int
    ) -> tuple[LiveState, LadderAnswers, list[str]]:
        """What is known now, answers, and what is wrong with them in plain words."""
        champion, price = self.champion, state.tick.price_usd
        if champion is None:
            return state, LadderAnswers.unknown(price, strikes), [f"no generation is published for {self.symbol}"]
        query = LadderQuery(champion.rule, champion.version.axes, market_states(state, champion), price, strikes, ttc)
        sigma_pct, bucket = query.sigma_pct, query.bucket
        if sigma_pct is not None and isnan(sigma_pct):
            return state, LadderAnswers.unknown(price, strikes), [f"volatility of {self.symbol} is not known"]
        if bucket is None:
            if champion.baseline is None:
                problem = f"there is neither momentum nor a baseline for {self.symbol}"
                return state, LadderAnswers.unknown(price, strikes), [problem]
            problem = f"momentum is not known{self._missing()}: the baseline answers"
            return state, query.answer_from_baseline(champion.baseline), [problem]
        problems = []
        if sigma_pct is not None:
            state = replace(state, sigma_pct=sigma_pct, group=bucket)
            if state.momentum_score_pct is None and len(champion.version.buckets) > 1:
                problems.append(f"momentum is not known{self._missing()}: all momenta together answer")
        rows = await self._lookup_rows(pool, champion.version, bucket, ttc)
        return state, query.answer_from_lookup(rows), problems

    def _missing(self) -> str:
        """Which prices momentum lacks."""
        features = self.ticks.features()
        lags = () if features is None else features.missing_lags
        return f" (no price {', '.join(str(lag) for lag in lags)} minutes ago)" if lags else ""

    async def _lookup_rows(self, pool: AsyncPool, version: ModelVersion, bucket: int, ttc: int) -> dict[int, LookupRow]:
        nodes = version.axes.nodes_around(ttc)
        generation = version.generation
        missing = sum((generation, bucket, node) not in self._cache for node in nodes)
        self.metrics.cache_hits += len(nodes) - missing
        self.metrics.cache_misses += missing
        if missing:
            ahead = AHEAD_SECONDS + crc32(self.symbol.encode()) % AHEAD_SECONDS  # not all symbols in the same second
            rows = await read_lookup_rows_async(pool, generation, bucket, version.axes, ttc, ahead)
            for node, row in rows.items():
                self._cache[generation, bucket, node] = row
            while len(self._cache) > CACHED_ROWS:
                self._cache.popitem(last=False)
        return {node: self._cache[generation, bucket, node] for node in nodes}

    def _row(self, state: LiveState, answers: LadderAnswers, status: str) -> Mapping[str, Any] | None:
        if state.model is None or np.isnan(answers.reading.beyond).all():
            return None
        return {
            "symbol": self.symbol,
            "answered_at": state.now,
            "market_close": next_market_close(state.now),
            "ttc_seconds": ttc_seconds(state.now),
            "price": state.tick.price_usd,
            "model": state.model,
            "generation": state.generation,
            "bucket": state.momentum_bucket if state.sigma_pct is None else state.group,
            "sigma_pct": state.sigma_pct,
            "strikes": answers.strikes_usd.tolist(),
            "prob_beyond": answers.reading.beyond.tolist(),
            "status": status,
        }


def market_states(state: LiveState, champion: Champion) -> MarketStates:
    """What the champion may know now: one state."""
    variances = None if champion.volatility is None else champion.volatility.current_state().variances
    return MarketStates.single(minutes_of(state.now), state.momentum_score_pct, variances)
