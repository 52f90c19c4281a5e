"""One symbol within a live session: its recent ticks, its champion's generation, its file."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from psycopg_pool import AsyncConnectionPool

from pipelines.domain.bars import SECONDS_PER_MINUTE, Floats
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
    minutes_of,
    next_market_close,
    ttc_seconds,
)
from pipelines.domain.live_volatility import LiveVolatility
from pipelines.domain.lookup import LookupRow
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.momentum import BPS_PER_UNIT, NO_BUCKET, PERCENT_PER_UNIT
from pipelines.domain.naming import answers_view
from pipelines.domain.volatility import HALF_LIVES_MINUTES
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


@dataclass(frozen=True)
class Champion:
    """Who answers: a published generation, its rule, and what it needs besides.

    `baseline`: for the momentum model while momentum is unknown, None where it has none (imported tables, other
    models); `volatility`: the state that goes on with each tick, None for a rule that does not look at it.
    """

    version: ModelVersion
    rule: Rule
    baseline: FingerprintSet | None
    volatility: LiveVolatility | None


@dataclass
class SymbolRefresher:
    """Turns what is known of one symbol into its probability file. Not shared between tasks."""

    symbol: str
    tier_usd: float
    output_dir: Path
    champion: Champion | None = None
    ticks: TickHistory = field(default_factory=lambda: TickHistory(ModelConfig()))
    cycles: int = 0
    #: The last refresh as a row of `live_data.answer`, None before the first that had an answer.
    answer: Mapping[str, Any] | None = None
    _cache: "OrderedDict[tuple[int, int], LookupRow]" = field(default_factory=OrderedDict)

    def use(self, champion: Champion) -> None:
        """Answer from another generation from now on."""
        self.champion = champion
        self.ticks.use_config(champion.rule.config if isinstance(champion.rule, MomentumRule) else ModelConfig())
        self._cache.clear()

    async def refresh(self, pool: AsyncConnectionPool[AsyncConnection], now: datetime) -> bool:
        """Read the new ticks, answer the ladder, replace the file; False when there is no price at all yet."""
        async with pool.connection() as connection:
            await self._read_ticks(connection, now)
            tick = self.ticks.latest
            if tick is None:
                return False
            state = self._state(tick, now)
            strikes = ladder_strikes_usd(tick.price_usd, self.tier_usd)
            state, answers, problems = await self._answer(connection, state, strikes, ttc_seconds(now))
        payload = live_payload(state, self.tier_usd, answers, problems)
        write_json(probabilities_path(self.output_dir, self.symbol), payload)
        self.cycles += 1
        self.answer = self._row(state, answers, str(payload["status"]))
        return True

    async def _read_ticks(self, connection: AsyncConnection, now: datetime) -> None:
        latest = self.ticks.latest
        since = now - HISTORY if latest is None else latest.at
        cursor = await connection.execute(query("live_tick_history"), [self.symbol, since], prepare=True)
        for ticked_at, price in await cursor.fetchall():
            tick = Tick(ticked_at, price)
            if ticked_at <= now and self.ticks.add(tick) and self.champion and self.champion.volatility:
                self.champion.volatility.add(tick.minutes, price)

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
        )

    async def _answer(
        self, connection: AsyncConnection, state: LiveState, strikes: Floats, ttc: int
    ) -> tuple[LiveState, LadderAnswers, list[str]]:
        """What is known now, answers, and what is wrong with them in plain words."""
        champion, price = self.champion, state.tick.price_usd
        if champion is None:
            return state, _no_answer(price, strikes, ttc), [f"no generation is published for {self.symbol}"]
        states = market_states(state, champion)
        if champion.rule.volatility is not None and np.isnan(states.variances).any():
            return state, _no_answer(price, strikes, ttc), [f"volatility of {self.symbol} is not known"]
        bucket = int(champion.rule.buckets(states)[0])
        if bucket == NO_BUCKET:
            baseline = champion.baseline
            if baseline is None:
                problem = f"there is neither momentum nor a baseline for {self.symbol}"
                return state, _no_answer(price, strikes, ttc), [problem]
            answers = answer_ladder_from(
                price, strikes, ttc, baseline.positive[0], baseline.negative[0], baseline.nodes,
                Profile(champion.version.profile), float(baseline.n_eff[0].min()),
            )  # fmt: skip
            return state, answers, ["momentum is not known: the baseline answers"]
        problems = []
        sigma = champion.rule.sigma(states, ttc / SECONDS_PER_MINUTE)
        if sigma is not None:
            state = replace(state, sigma_pct=float(sigma[0]) * PERCENT_PER_UNIT, group=bucket)
            if state.momentum_score_pct is None and len(champion.version.buckets) > 1:
                problems.append("momentum is not known: all momenta together answer")
        moves_bps = (strikes - price) / price * BPS_PER_UNIT
        positions = np.broadcast_to(
            champion.rule.positions(states, ttc / SECONDS_PER_MINUTE, moves_bps), (1, len(strikes))
        )
        rows = await self._lookup_rows(connection, champion.version, bucket, ttc)
        return state, answer_ladder(price, strikes, ttc, rows, champion.version.axes, positions[0]), problems

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

    def _row(self, state: LiveState, answers: LadderAnswers, status: str) -> Mapping[str, Any] | None:
        if state.model is None or np.isnan(answers.reading.beyond).all():
            return None
        return {
            "symbol": self.symbol, "answered_at": state.now, "market_close": next_market_close(state.now),
            "ttc_seconds": ttc_seconds(state.now), "price": state.tick.price_usd, "model": state.model,
            "generation": state.generation,
            "bucket": state.momentum_bucket if state.sigma_pct is None else state.group,
            "sigma_pct": state.sigma_pct, "strikes": answers.strikes_usd.tolist(),
            "prob_beyond": answers.reading.beyond.tolist(), "status": status,
        }  # fmt: skip


def market_states(state: LiveState, champion: Champion) -> MarketStates:
    """What the champion may know now: one state."""
    variances = np.full((len(HALF_LIVES_MINUTES), 1), np.nan)
    if champion.volatility is not None:
        variances = np.array(champion.volatility.now().variances)[:, None]
    score = np.nan if state.momentum_score_pct is None else state.momentum_score_pct / PERCENT_PER_UNIT
    return MarketStates(np.array([minutes_of(state.now)]), np.array([score]), variances)


def _no_answer(price_usd: float, strikes: Floats, ttc: int) -> LadderAnswers:
    return answer_ladder_from(price_usd, strikes, ttc, NOTHING, NOTHING, (0,), Profile.SOUND, 0.0)
