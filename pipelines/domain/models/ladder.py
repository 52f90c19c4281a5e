"""Strike ladders: the strikes around a price, their probabilities from a published model, and the live JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import ceil, isnan
from typing import Any

import numpy as np

from pipelines.domain.markets.question import LAST_PRICE_QUESTION, MarketQuestion
from pipelines.domain.markets.settlement import LAST_PRICE, Settlement
from pipelines.domain.models import probability
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.distribution import Distribution, prices_around
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.freshness import written_status
from pipelines.domain.models.lookup import LookupAxes, LookupRow
from pipelines.domain.models.probability import Reading
from pipelines.domain.models.uncertainty import MIN_INDEPENDENT_OUTCOMES, wilson_interval_pct
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.decimals import distance_decimals, step_decimals
from pipelines.domain.prices.momentum import BPS_PER_UNIT, NO_BUCKET, PERCENT_PER_UNIT
from pipelines.domain.prices.ticks import REPLAY, Tick

#: A model's reading at moves of the price, in basis points.
Reader = Callable[[Floats], Reading]

STRIKES_PER_SIDE = 10
#: Strikes chosen by probability are multiples of this share of the distance between the others.
STRIKE_STEP_SHARE = 0.001


def base_strike_usd(price_usd: float, tier_usd: float) -> float:
    """The strike nearest to the price: round(price / tier) * tier, halves to even."""
    return round(round(price_usd / tier_usd) * tier_usd, step_decimals(tier_usd))


def ladder_strikes_usd(price_usd: float, tier_usd: float) -> Floats:
    """The 21 strikes around the price, lowest first, with the decimals of the tier; those above zero only."""
    base = base_strike_usd(price_usd, tier_usd)
    strikes = base + tier_usd * np.arange(-STRIKES_PER_SIDE, STRIKES_PER_SIDE + 1, dtype=np.float64)
    strikes = strikes.round(step_decimals(tier_usd))
    return strikes[strikes > 0]


def next_market_close(now: datetime) -> datetime:
    """The next top of the hour, UTC; `now` at a top of the hour belongs to the market that closes an hour later."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


@dataclass(frozen=True)
class LadderAnswers:
    """Probabilities for the strikes of a ladder. `reading.beyond`: percent, NaN without data.

    `quantiles`, `curve`: of the closing price, as in the live JSON; empty where nothing is known.
    """

    price_usd: float
    strikes_usd: Floats
    reading: Reading
    quantiles: Sequence[Mapping[str, Any]] = ()
    curve: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def unknown(cls, price_usd: float, strikes_usd: Floats) -> "LadderAnswers":
        """No probability for any strike."""
        unknown = np.full(len(strikes_usd), np.nan)
        return cls(price_usd, strikes_usd, Reading(unknown, np.zeros(len(strikes_usd), dtype=np.bool_), 0.0, unknown))

    @property
    def n_eff(self) -> float | None:
        """Effective bars behind the answers; None when unknown (imported tables)."""
        return None if self.reading.n_eff < 0 else round(self.reading.n_eff, 1)

    @property
    def thin(self) -> bool:
        """Whether an answer is based on fewer than MIN_INDEPENDENT_OUTCOMES independent outcomes."""
        return bool((self.reading.independent < MIN_INDEPENDENT_OUTCOMES).any())

    def base_strike_usd(self, tier_usd: float) -> float:
        """The strike nearest to the price: of two, the one that `base_strike_usd` prefers for this distance."""
        evenly, distances = base_strike_usd(self.price_usd, tier_usd), np.abs(self.strikes_usd - self.price_usd)
        if not len(distances) or np.isclose(abs(evenly - self.price_usd), distances.min()):
            return evenly
        return float(self.strikes_usd[distances.argmin()])

    def rows(self) -> list[dict[str, Any]]:
        """The answers in the contract's shape: `prob_beyond` and the others in percent, None where unknown.

        `buffer` has two decimals more than the strikes, at least cents.
        """
        beyond, buffer_usd = self.reading.beyond.round(2), np.abs(self.strikes_usd - self.price_usd)
        decimals = distance_decimals(self.strikes_usd.tolist())
        columns = zip(
            self.strikes_usd.tolist(),
            buffer_usd.round(decimals).tolist(),
            (buffer_usd / self.price_usd * PERCENT_PER_UNIT).round(4).tolist(),
            (self.strikes_usd > self.price_usd).tolist(),
            np.isnan(beyond).tolist(),
            beyond.tolist(),
            (100.0 - beyond).round(2).tolist(),
            strict=True,
        )
        rows = []
        for strike, buffer, move_percent, up, unknown, prob_beyond, prob_within in columns:
            past, within = (None, None) if unknown else (prob_beyond, prob_within)
            rows.append(
                {
                    "strike": tidy(strike),
                    "buffer": buffer,
                    "move_percent": move_percent,
                    "prob_beyond": past,
                    "prob_within": within,
                    "direction": "above" if up else "below",
                    "positive_prob": past if up else within,
                    "negative_prob": within if up else past,
                }
            )
        return rows

    def intervals(self) -> list[dict[str, float | int | None]]:
        """For each strike the 95 % interval of `prob_beyond`, percent to two decimals, and the independent outcomes
        behind it; None where unknown.
        """
        low, high = wilson_interval_pct(self.reading.beyond, self.reading.independent)
        columns = zip(low.round(2).tolist(), high.round(2).tolist(), self.reading.independent.tolist(), strict=True)
        return [
            {"prob_beyond_low": None, "prob_beyond_high": None, "n_independent": None}
            if isnan(least)
            else {"prob_beyond_low": least, "prob_beyond_high": most, "n_independent": round(independent)}
            for least, most, independent in columns
        ]


@dataclass(frozen=True)
class LadderQuery:
    """A ladder of strikes at one market state, to be answered by a published model.

    The caller gives a reader of the rows that `bucket` names, or of the baseline where `bucket` is None, to `answer` or
    `at_or_above`. `states` holds one state. `strike_step_usd`: strikes are chosen by
    probability, as multiples of it; `strikes_usd` then apply only where nothing is known. `settlement`: of the market
    that asks; the model is read `effective_seconds` ahead.
    """

    rule: Rule
    axes: LookupAxes
    states: MarketStates
    price_usd: float
    strikes_usd: Floats
    ttc_seconds: float
    strike_step_usd: float | None = None
    settlement: Settlement = LAST_PRICE

    @cached_property
    def effective_seconds(self) -> float:
        """The time ahead for which the model is read: by it, the caller finds the rows."""
        return self.settlement.effective_seconds(self.ttc_seconds)

    @cached_property
    def bucket(self) -> int | None:
        """The bucket whose lookup rows answer; None for the baseline, when momentum is unknown."""
        bucket = int(self.rule.buckets(self.states)[0])
        return None if bucket == NO_BUCKET else bucket

    @cached_property
    def sigma_pct(self) -> float | None:
        """Forecast volatility in percent per square root of a minute: None for a rule without, NaN when unknown."""
        sigma = self.rule.sigma(self.states, self.effective_seconds / SECONDS_PER_MINUTE)
        return None if sigma is None else float(sigma[0]) * PERCENT_PER_UNIT

    def lookup_reader(self, rows: Mapping[int, LookupRow]) -> Reader:
        """Reads the rows of `bucket`; `rows`: by TTC, holding `axes.nodes_around(effective_seconds)`."""
        seconds = self.effective_seconds

        def read(moves_bps: Floats) -> Reading:
            positions = self.rule.positions(self.states, seconds / SECONDS_PER_MINUTE, moves_bps)[0]
            return probability.from_lookup(rows, self.axes, seconds, positions, moves_bps > 0)

        return read

    def baseline_reader(self, baseline: FingerprintSet) -> Reader:
        """Reads the baseline fingerprint; `baseline` comes first in its set."""
        seconds, profile = self.effective_seconds, self.axes.profile
        return lambda moves_bps: probability.from_baseline(baseline, seconds, moves_bps, profile)

    def answer_from_lookup(self, rows: Mapping[int, LookupRow]) -> LadderAnswers:
        """As `answer`, from the rows of `bucket`."""
        return self.answer(self.lookup_reader(rows))

    def answer_from_baseline(self, baseline: FingerprintSet) -> LadderAnswers:
        """As `answer`, from the baseline fingerprint."""
        return self.answer(self.baseline_reader(baseline))

    def at_or_above(self, read: Reader, strikes_usd: Floats) -> Floats:
        """P(the market's value is at or above each strike), fractions, NaN without data: float64[k]."""
        return self.with_independent(read, strikes_usd)[0]

    def with_independent(self, read: Reader, strikes_usd: Floats) -> tuple[Floats, Floats]:
        """As `at_or_above`, with the independent outcomes behind each, NaN where unknown: float64[k] twice."""
        reading = self._settled(read, strikes_usd)
        beyond = reading.beyond / PERCENT_PER_UNIT
        return np.where(strikes_usd > self.price_usd, beyond, 1.0 - beyond), reading.independent

    def answer(self, read: Reader) -> LadderAnswers:
        """Probabilities of the ladder with the distribution, which are read together."""
        strikes = self.strikes_usd
        around = prices_around(self.settlement.expected_usd(self.ttc_seconds, self.price_usd))
        both = self._settled(read, np.concatenate([around, strikes]))
        distribution = Distribution.of(self.price_usd, around, both.part(slice(len(around))))
        reading = both.part(slice(len(around), None))
        if self.strike_step_usd is not None and len(chosen := distribution.strikes_usd(self.strike_step_usd)):
            strikes, reading = chosen, self._settled(read, chosen)
        return LadderAnswers(self.price_usd, strikes, reading, distribution.quantile_rows(), distribution.curve_rows())

    def _settled(self, read: Reader, strikes_usd: Floats) -> Reading:
        """P(the market's value is at or past each strike, seen from the price)."""
        reach = self.settlement.effective_strikes(strikes_usd, self.ttc_seconds, self.price_usd)
        is_open = (reach > 0) & (reach < np.inf)
        moves_bps = (np.where(is_open, reach, self.price_usd) - self.price_usd) / self.price_usd * BPS_PER_UNIT
        reading, above = read(moves_bps), strikes_usd > self.price_usd
        if (is_open & ((moves_bps > 0) == above)).all():
            return reading
        beyond = np.where((moves_bps > 0) == above, reading.beyond, 100.0 - reading.beyond)
        return Reading(
            np.where(is_open, beyond, np.where((reach <= 0) == above, 100.0, 0.0)),
            reading.clamped & is_open,
            reading.n_eff,
            np.where(is_open, reading.independent, np.nan),
        )


def tidy(value: float) -> float | int:
    """Whole numbers as integers: 95000, not 95000.0."""
    return int(value) if float(value).is_integer() else value


@dataclass(frozen=True)
class LiveState:
    """Inputs of a live answer at `now` (aware UTC).

    `question`: what its market asks; `source`: of the prices; `replayed_at` (aware UTC): when a replayed price was a
    real one, None for real prices.
    """

    now: datetime
    tick: Tick
    momentum_score_pct: float | None
    momentum_bucket: int | None
    fingerprint_table: str | None
    generation: int | None
    model: str | None = None
    sigma_pct: float | None = None
    group: int | None = None
    session: int | None = None
    source: str | None = None
    replayed_at: datetime | None = None
    question: MarketQuestion = LAST_PRICE_QUESTION


def live_payload(
    state: LiveState, tier_usd: float, answers: LadderAnswers, problems: Sequence[str], *, last: bool = False
) -> dict[str, Any]:
    """The live probability JSON (contract of the original first, newer fields after it). Never contains NaN.

    `status`: see `freshness`; "stale" when no further refresh follows (`last`).
    """
    age_ms = max(0, int(np.ceil((state.now - state.tick.at).total_seconds() * 1000)))
    known = not np.isnan(answers.reading.beyond).all()
    degraded = [*problems, *([] if known else ["no evidence for this bucket"])]
    close = next_market_close(state.now)
    return {
        "timestamp": iso(state.now),
        "current_price": state.tick.price_usd,
        "base_strike": tidy(answers.base_strike_usd(tier_usd)),
        "ttc_seconds": ttc_seconds(state.now),
        "momentum_score": None if state.momentum_score_pct is None else round(state.momentum_score_pct, 4),
        "strikes": [tidy(strike) for strike in answers.strikes_usd.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": state.fingerprint_table,
        "status": str(written_status(age_ms / 1000, degraded, last=last, replayed=state.source == REPLAY)),
        "reasons": degraded,
        "price_age_ms": age_ms,
        "price_timestamp": iso(state.tick.at),
        "momentum_bucket": state.momentum_bucket,
        "clamped": int(answers.reading.clamped.sum()),
        "n_eff": answers.n_eff,
        "model_version": state.generation,
        "market_close": close.isoformat().replace("+00:00", "Z"),
        "model": state.model,
        "sigma": None if state.sigma_pct is None else round(state.sigma_pct, 6),
        "group": state.group,
        "thin_evidence": answers.thin,
        "intervals": answers.intervals(),
        "session": state.session,
        "source": state.source,
        "replayed_timestamp": None if state.replayed_at is None else iso(state.replayed_at),
        "quantiles": answers.quantiles,
        "curve": answers.curve,
        **state.question.fields(state.now),
    }


def payload_without_answers(
    now: datetime,
    last_tick: Tick | None,
    tier_usd: float,
    reasons: Sequence[str],
    *,
    session: int | None,
    source: str,
    question: MarketQuestion = LAST_PRICE_QUESTION,
) -> dict[str, Any]:
    """The JSON of a symbol without a current price, at `now` (aware UTC): stale, without probabilities.

    `last_tick`: the last known price, None if there never was one; then all that depends on a price is null or empty.
    """
    tick = last_tick or Tick(now, tier_usd)
    strikes = ladder_strikes_usd(tick.price_usd, tier_usd)[: None if last_tick else 0]
    state = LiveState(now, tick, None, None, None, None, session=session, source=source, question=question)
    payload = live_payload(state, tier_usd, LadderAnswers.unknown(tick.price_usd, strikes), (), last=True)
    price_fields = ("current_price", "base_strike", "price_age_ms", "price_timestamp")
    return payload | {"reasons": list(reasons)} | ({} if last_tick else dict.fromkeys(price_fields))


def iso(instant: datetime) -> str:
    """An instant (UTC) as the files write it, with milliseconds and Z."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ttc_seconds(now: datetime, closes_at: datetime | None = None) -> int:
    """Whole seconds to a close (aware), by default the next top of the hour, rounded up.

    A market is open through its last second.
    """
    return ceil(((closes_at or next_market_close(now)) - now).total_seconds())
