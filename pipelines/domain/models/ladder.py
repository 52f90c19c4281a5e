"""Strike ladders: the strikes around a price, their probabilities from a published model, and the live JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np

from pipelines.domain.models import probability
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.lookup import LookupAxes, LookupRow
from pipelines.domain.models.probability import Reading
from pipelines.domain.models.uncertainty import MIN_INDEPENDENT_OUTCOMES, wilson_interval_pct
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.momentum import BPS_PER_UNIT, NO_BUCKET, PERCENT_PER_UNIT
from pipelines.domain.prices.ticks import Tick

STRIKES_PER_SIDE = 10
#: Strikes are decimal prices; further decimals are rounding errors of the multiplication.
STRIKE_DECIMALS = 8
STALE_AFTER_MS = 2_000


def base_strike_usd(price_usd: float, tier_usd: float) -> float:
    """The strike nearest to the price: round(price / tier) * tier, halves to even."""
    return round(round(price_usd / tier_usd) * tier_usd, STRIKE_DECIMALS)


def ladder_strikes_usd(price_usd: float, tier_usd: float) -> Floats:
    """The 21 strikes around the price, lowest first; those at or below zero are left out."""
    base = base_strike_usd(price_usd, tier_usd)
    strikes = base + tier_usd * np.arange(-STRIKES_PER_SIDE, STRIKES_PER_SIDE + 1, dtype=np.float64)
    strikes = strikes.round(STRIKE_DECIMALS)
    return strikes[strikes > 0]


def next_market_close(now: datetime) -> datetime:
    """The next top of the hour, UTC; `now` at a top of the hour belongs to the market that closes an hour later."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


@dataclass(frozen=True)
class LadderAnswers:
    """Probabilities for the strikes of a ladder. `reading.beyond`: percent, NaN without data."""

    price_usd: float
    strikes_usd: Floats
    reading: Reading

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

    def rows(self) -> list[dict[str, Any]]:
        """The answers in the contract's shape: `prob_beyond` and the others in percent, None where unknown."""
        beyond, buffer_usd = self.reading.beyond.round(2), np.abs(self.strikes_usd - self.price_usd)
        columns = zip(
            self.strikes_usd.tolist(),
            buffer_usd.round(2).tolist(),
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

    The caller reads the rows that `bucket` names and passes them to `answer_from_lookup`, or the baseline to
    `answer_from_baseline` where `bucket` is None. `states` holds one state.
    """

    rule: Rule
    axes: LookupAxes
    states: MarketStates
    price_usd: float
    strikes_usd: Floats
    ttc_seconds: float

    @cached_property
    def bucket(self) -> int | None:
        """The bucket whose lookup rows answer; None for the baseline, when momentum is unknown."""
        bucket = int(self.rule.buckets(self.states)[0])
        return None if bucket == NO_BUCKET else bucket

    @cached_property
    def sigma_pct(self) -> float | None:
        """Forecast volatility in percent per square root of a minute: None for a rule without, NaN when unknown."""
        sigma = self.rule.sigma(self.states, self.ttc_seconds / SECONDS_PER_MINUTE)
        return None if sigma is None else float(sigma[0]) * PERCENT_PER_UNIT

    @cached_property
    def _moves_bps(self) -> Floats:
        return (self.strikes_usd - self.price_usd) / self.price_usd * BPS_PER_UNIT

    def answer_from_lookup(self, rows: Mapping[int, LookupRow]) -> LadderAnswers:
        """Probabilities from the rows of `bucket`; `rows`: by TTC, holding `axes.nodes_around(ttc_seconds)`."""
        positions = self.rule.positions(self.states, self.ttc_seconds / SECONDS_PER_MINUTE, self._moves_bps)[0]
        reading = probability.from_lookup(rows, self.axes, self.ttc_seconds, positions, self._moves_bps > 0)
        return LadderAnswers(self.price_usd, self.strikes_usd, reading)

    def answer_from_baseline(self, baseline: FingerprintSet) -> LadderAnswers:
        """Probabilities from the baseline fingerprint; `baseline` comes first in its set."""
        reading = probability.from_baseline(baseline, self.ttc_seconds, self._moves_bps, self.axes.profile)
        return LadderAnswers(self.price_usd, self.strikes_usd, reading)


def tidy(value: float) -> float | int:
    """Whole numbers as integers: 95000, not 95000.0."""
    return int(value) if float(value).is_integer() else value


@dataclass(frozen=True)
class LiveState:
    """Inputs of a live answer at `now` (aware UTC)."""

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


def live_payload(
    state: LiveState, tier_usd: float, answers: LadderAnswers, problems: Sequence[str], *, last: bool = False
) -> dict[str, Any]:
    """The live probability JSON (contract of the original first, newer fields after it). Never contains NaN.

    `status`: "stale" when the price is older than 2 s or no further refresh follows (`last`), else "degraded" when
    there are `problems`, else "ok".
    """
    age_ms = max(0, int(np.ceil((state.now - state.tick.at).total_seconds() * 1000)))
    known = not np.isnan(answers.reading.beyond).all()
    degraded = [*problems, *([] if known else ["no evidence for this bucket"])]
    close = next_market_close(state.now)
    return {
        "timestamp": state.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "current_price": state.tick.price_usd,
        "base_strike": tidy(base_strike_usd(state.tick.price_usd, tier_usd)),
        "ttc_seconds": ttc_seconds(state.now),
        "momentum_score": None if state.momentum_score_pct is None else round(state.momentum_score_pct, 4),
        "strikes": [tidy(strike) for strike in answers.strikes_usd.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": state.fingerprint_table,
        "status": "stale" if last or age_ms > STALE_AFTER_MS else "degraded" if degraded else "ok",
        "reasons": degraded,
        "price_age_ms": age_ms,
        "price_timestamp": state.tick.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
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
    }


def ttc_seconds(now: datetime) -> int:
    """Whole seconds to the next top of the hour, 1..3600, rounded up: a market is open through its last second."""
    return int(np.ceil((next_market_close(now) - now).total_seconds()))
