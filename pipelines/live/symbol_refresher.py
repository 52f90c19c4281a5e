"""One symbol of a live session: its recent ticks, its champion, its probability file."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isnan
from typing import Any
from zlib import crc32

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import answers_view
from pipelines.domain.markets.basis import BasisChoice
from pipelines.domain.markets.question import LAST_PRICE_QUESTION, MarketQuestion, without_basis
from pipelines.domain.markets.settlement import (
    MAX_VALUE_AGE_MS,
    MS_PER_SECOND,
    VALUES,
    SettlementRule,
    known_values,
)
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import (
    STRIKE_STEP_SHARE,
    LadderAnswers,
    LadderQuery,
    LiveState,
    Reader,
    ladder_strikes_usd,
    live_payload,
    next_market_close,
    payload_without_answers,
    ttc_seconds,
)
from pipelines.domain.models.lookup import LookupRow
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.outliers import OutlierFilter
from pipelines.domain.prices.ticks import QuoteValidator, Tick, TickHistory, milliseconds_of, minutes_of
from pipelines.live.champions import Champion
from pipelines.live.feeds.base import Feed
from pipelines.live.metrics import SessionMetrics
from pipelines.live.probability_writer import ProbabilityFileWriter
from pipelines.storage.models.generations import ModelVersion
from pipelines.storage.models.tables import read_lookup_rows_async
from pipelines.storage.postgres.connection import AsyncPool

#: A row of one bucket and TTC takes 2 kB in memory; an hour in one bucket needs 710.
CACHED_ROWS = 4096
#: Rows are read at least this far ahead: one read a minute and bucket instead of one in five seconds.
READ_AHEAD_SECONDS = 60

#: Prices that the one-second values of a market's last minute rest on.
LAST_MINUTE = timedelta(milliseconds=VALUES * MS_PER_SECOND + MAX_VALUE_AGE_MS)
NOT_ESTIMATED = BasisChoice(None, ("it has not been estimated yet",))


@dataclass(frozen=True)
class Asked:
    """A question, the state completed by the model, and messages about problems with its answer.

    `answerable`: the query and a reader of what answers it; None where nothing is known.
    """

    state: LiveState
    answerable: tuple[LadderQuery, Reader] | None
    problems: list[str]


@dataclass
class SymbolRefresher:
    """Answers the ladder of one symbol and writes its file. One task refreshes; others may add ticks."""

    symbol: str
    tier_usd: float
    files: ProbabilityFileWriter
    metrics: SessionMetrics
    session: int | None = None
    #: Strikes are chosen by probability; where nothing is known, they are `tier_usd` apart.
    by_probability: bool = False
    #: What its markets settle on.
    rule: SettlementRule = SettlementRule.LAST_PRICE
    #: The basis between the index of MEAN_60S and our price, or why none is known.
    basis: BasisChoice = NOT_ESTIMATED
    #: Where the session's prices come from.
    feed: Feed = field(default_factory=Feed)
    #: The last price before those in `ticks`, however old; None if there is none.
    last_known: Tick | None = None
    champion: Champion | None = None
    ticks: TickHistory = field(default_factory=lambda: TickHistory(ModelConfig()))
    #: Judges all prices, of the session's feed and of other producers.
    outliers: OutlierFilter = field(default_factory=OutlierFilter)
    #: Validates the quotes of the session's own feed; None without one.
    validator: QuoteValidator | None = None
    #: The last refresh as a row of `live_data.answer`; None without an answer.
    answer: Mapping[str, Any] | None = None
    #: Messages about the prices, of the last refresh.
    price_problems: Sequence[str] = ()
    #: Set after the first refresh with each price.
    on_new_price: list[asyncio.Event] = field(default_factory=list)
    _last: tuple[LiveState, LadderAnswers, Sequence[str]] | None = None
    #: By generation, bucket and node: a read that is under way when the champion changes returns the old one's rows.
    _cache: "OrderedDict[tuple[int, int, int], LookupRow]" = field(default_factory=OrderedDict)

    @property
    def generation(self) -> int | None:
        """The champion's generation; None without a champion."""
        return None if self.champion is None else self.champion.version.generation

    def use_champion(self, champion: Champion) -> None:
        """Answer from this champion from now on."""
        if champion.volatility is not None:  # it ignores the ticks that it has already
            champion.volatility.add_all((tick.minutes, tick.price_usd) for tick in self.ticks.since(champion.loaded_at))
        self.champion = champion
        self.ticks.use_config(champion.rule.config if isinstance(champion.rule, MomentumRule) else ModelConfig())
        self._cache.clear()

    def add_tick(self, tick: Tick) -> bool:
        """Add a tick; return False and change nothing when it is not newer than the newest."""
        if not self.ticks.add(tick):
            return False
        if self.champion is not None and self.champion.volatility is not None:
            self.champion.volatility.add(tick.minutes, tick.price_usd)
        return True

    async def refresh(self, pool: AsyncPool, now: datetime, problems: Sequence[str] = ()) -> str | None:
        """Answer the ladder and replace the file; return its status, None before the first tick.

        Before that, the file says that there is no price, and why.
        `problems`: messages about the prices. Raises SupersededError when another session may write.
        """
        tick = self.newest_tick()
        if tick is None:
            self._write_without_answers(now, problems)
            return None
        started, self.price_problems = time.perf_counter(), problems
        state, answers, model_problems = await self._answer(pool, self.state(tick, now))
        payload = live_payload(state, self.tier_usd, answers, [*problems, *model_problems])
        computed = time.perf_counter()
        self.files.write(self.symbol, payload)
        self.metrics.record("compute", computed - started)
        self.metrics.record("write", time.perf_counter() - computed)
        self.answer = self._answer_row(state, answers, payload["status"])
        if self._last is None or self._last[0].tick != tick:
            for event in self.on_new_price:
                event.set()
        self._last = state, answers, model_problems
        return str(payload["status"])

    def write_failure(self, now: datetime, reason: str) -> None:
        """Write a file without answers that gives the reason."""
        tick = self.newest_tick()
        if tick is None:
            self._write_without_answers(now, [reason])
        else:
            answers = LadderAnswers.unknown(tick.price_usd, ladder_strikes_usd(tick.price_usd, self.tier_usd))
            self.files.write(self.symbol, live_payload(self.state(tick, now), self.tier_usd, answers, [reason]))

    def write_final(self, now: datetime, reason: str) -> None:
        """Write the last answers as stale, with the reason."""
        if self._last is None:
            self._write_without_answers(now, [reason])
        else:
            state, answers, problems = self._last
            payload = live_payload(replace(state, now=now), self.tier_usd, answers, [reason, *problems], last=True)
            self.files.write(self.symbol, payload)

    def _write_without_answers(self, now: datetime, problems: Sequence[str]) -> None:
        since = "yet" if self.last_known is None else f"since {self.last_known.at:%Y-%m-%d %H:%M:%S} UTC"
        reasons = [f"no price of {self.symbol} has arrived {since} (source: {self.feed.name})", *problems]
        if self.champion is None:
            reasons.append(f"no generation is published for {self.symbol}")
        payload = payload_without_answers(
            now,
            self.last_known,
            self.tier_usd,
            reasons,
            session=self.session,
            source=self.feed.name,
            question=self.question(now, next_market_close(now), self.rule),
        )
        self.files.write(self.symbol, payload)

    def newest_tick(self) -> Tick | None:
        """The newest price, with the time of its source while that repeats it."""
        tick = self.ticks.latest
        return tick if tick is None or self.validator is None else self.validator.with_own_time(tick)

    def state(self, tick: Tick, now: datetime, question: MarketQuestion | None = None) -> LiveState:
        """The inputs of an answer at `now` (aware UTC), by default about the hour's market of the symbol's rule."""
        score_pct, momentum_bucket = self.ticks.momentum()
        version = None if self.champion is None else self.champion.version
        return LiveState(
            now=now,
            tick=tick,
            momentum_score_pct=score_pct,
            momentum_bucket=momentum_bucket,
            fingerprint_table=None if version is None else answers_view(self.symbol, version.model, momentum_bucket),
            generation=self.generation,
            model=None if version is None else version.model,
            session=self.session,
            source=self.feed.name,
            replayed_at=self.feed.replayed_at(self.symbol, tick.at),
            question=question or self.question(now, next_market_close(now), self.rule),
        )

    def question(self, now: datetime, closes_at: datetime, rule: SettlementRule) -> MarketQuestion:
        """What a market with a close (aware UTC) and a rule asks at `now` (aware UTC)."""
        known, ttc = None, ttc_seconds(now, closes_at)
        if rule is SettlementRule.LAST_PRICE:
            return LAST_PRICE_QUESTION
        if ttc < VALUES:
            ticked_ms, prices_usd = self.ticks.arrays_since(closes_at - LAST_MINUTE)
            known = known_values(ticked_ms, prices_usd, milliseconds_of(closes_at), ttc)
        basis, reasons = self.basis.basis, self.basis.reasons
        if basis is None:
            return MarketQuestion(rule, known, warnings=(without_basis("; ".join(reasons)),))
        return MarketQuestion(rule, known, basis, reasons)

    async def ask(
        self, pool: AsyncPool, state: LiveState, strikes_usd: Floats, ttc: float, step_usd: float | None = None
    ) -> Asked:
        """`state.question` about strikes `ttc` seconds before the close, with what answers it."""
        price, champion, question = state.tick.price_usd, self.champion, state.question
        if champion is None:
            return Asked(state, None, [f"no generation is published for {self.symbol}"])
        if not question.is_answerable:
            return Asked(state, None, question.problems)
        variances = None if champion.volatility is None else champion.volatility.current_state().variances
        states = MarketStates.single(minutes_of(state.now), state.momentum_score_pct, variances)
        query = LadderQuery(
            champion.rule, champion.version.axes, states, price, strikes_usd, ttc, step_usd, question.settlement
        )
        sigma_pct, bucket = query.sigma_pct, query.bucket
        if sigma_pct is not None and isnan(sigma_pct):
            return Asked(state, None, [f"volatility of {self.symbol} is not known"])
        if bucket is None:
            if champion.baseline is None:
                return Asked(state, None, [f"there is neither momentum nor a baseline for {self.symbol}"])
            problem = f"momentum is not known{self._missing_lags()}: the baseline answers"
            return Asked(state, (query, query.baseline_reader(champion.baseline)), [*question.problems, problem])
        problems = question.problems
        if sigma_pct is not None:
            state = replace(state, sigma_pct=sigma_pct, group=bucket)
            if state.momentum_score_pct is None and len(champion.version.buckets) > 1:
                problems.append(f"momentum is not known{self._missing_lags()}: all momenta together answer")
        rows = await self._lookup_rows(pool, champion.version, bucket, query.effective_seconds)
        return Asked(state, (query, query.lookup_reader(rows)), problems)

    async def _answer(self, pool: AsyncPool, state: LiveState) -> tuple[LiveState, LadderAnswers, list[str]]:
        """The state completed by the model, the answers, and messages about problems with them."""
        price = state.tick.price_usd
        strikes = ladder_strikes_usd(price, self.tier_usd)
        step_usd = self.tier_usd * STRIKE_STEP_SHARE if self.by_probability else None
        asked = await self.ask(pool, state, strikes, ttc_seconds(state.now), step_usd)
        if asked.answerable is None:
            return asked.state, LadderAnswers.unknown(price, strikes), asked.problems
        query, reader = asked.answerable
        return asked.state, query.answer(reader), asked.problems

    def _missing_lags(self) -> str:
        features = self.ticks.features()
        lags = () if features is None else features.missing_lags
        return f" (no price {', '.join(str(lag) for lag in lags)} minutes ago)" if lags else ""

    async def _lookup_rows(
        self, pool: AsyncPool, version: ModelVersion, bucket: int, ttc: float
    ) -> dict[int, LookupRow]:
        """The rows around a TTC, from the cache or the database."""
        nodes, generation = version.axes.nodes_around(ttc), version.generation
        missing = sum((generation, bucket, node) not in self._cache for node in nodes)
        self.metrics.cache_hits += len(nodes) - missing
        self.metrics.cache_misses += missing
        if missing:
            # Spread over a minute, so that symbols do not all read in the same second.
            ahead = READ_AHEAD_SECONDS + crc32(self.symbol.encode()) % READ_AHEAD_SECONDS
            rows = await read_lookup_rows_async(pool, generation, bucket, version.axes, ttc, ahead)
            for node, row in rows.items():
                self._cache[generation, bucket, node] = row
            while len(self._cache) > CACHED_ROWS:
                self._cache.popitem(last=False)
        return {node: self._cache[generation, bucket, node] for node in nodes}

    def _answer_row(self, state: LiveState, answers: LadderAnswers, status: str) -> Mapping[str, Any] | None:
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
            "settlement": str(state.question.rule),
            "basis_bps": None if state.question.basis is None else state.question.basis.bps,
            "source": state.source,
            "strikes": answers.strikes_usd.tolist(),
            "prob_beyond": answers.reading.beyond.tolist(),
            "status": status,
        }
