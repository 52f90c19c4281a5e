"""From a price and a lookup to the answers of a whole strike ladder, and to the live JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.interpolation import interpolate_beyond, is_clamped, scaled_move_bps, served
from pipelines.domain.models.lookup import LookupAxes, LookupRow, Reading, read_ladder
from pipelines.domain.models.uncertainty import THIN_EVIDENCE, interval_pct
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.momentum import BPS_PER_UNIT, PERCENT_PER_UNIT
from pipelines.domain.prices.ticks import Tick

STRIKES_PER_SIDE = 10
#: Strikes are decimal prices: what is beyond this is noise of the multiplication.
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
    """Probabilities for a ladder of strikes, each array of the strikes' shape.

    `buffer_usd` = |price - strike|; `move_bps` = buffer / price; `upward`: the strike is above the price;
    `reading.beyond`: percent, NaN where there is no evidence.
    """

    strikes_usd: Floats
    buffer_usd: Floats
    move_bps: Floats
    upward: npt.NDArray[np.bool_]
    reading: Reading

    @property
    def n_eff(self) -> float | None:
        """Effective bars behind the answers; None when not known (imported tables)."""
        return None if self.reading.n_eff < 0 else round(self.reading.n_eff, 1)

    @property
    def thin(self) -> bool:
        """Whether an answer rests on fewer than THIN_EVIDENCE independent outcomes."""
        return bool((self.reading.independent < THIN_EVIDENCE).any())

    def rows(self) -> list[dict[str, Any]]:
        """The answers in the contract's shape: `prob_beyond` and the others in percent, None where not known."""
        beyond = self.reading.beyond.round(2)
        columns = zip(
            self.strikes_usd.tolist(),
            self.buffer_usd.round(2).tolist(),
            (self.move_bps / PERCENT_PER_UNIT).round(4).tolist(),
            self.upward.tolist(),
            np.isnan(beyond).tolist(),
            beyond.tolist(),
            (100.0 - beyond).round(2).tolist(),
            strict=True,
        )
        rows = []
        for strike, buffer, move_percent, up, unknown, reach, stay in columns:
            past, within = (None, None) if unknown else (reach, stay)
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
        that it rests on; None where not known.
        """
        low, high = interval_pct(self.reading.beyond, self.reading.independent)
        columns = zip(low.round(2).tolist(), high.round(2).tolist(), self.reading.independent.tolist(), strict=True)
        return [
            {"prob_beyond_low": None, "prob_beyond_high": None, "n_independent": None}
            if isnan(least)
            else {"prob_beyond_low": least, "prob_beyond_high": most, "n_independent": round(independent)}
            for least, most, independent in columns
        ]


def answer_ladder(
    price_usd: float,
    strikes_usd: Floats,
    ttc_seconds: float,
    rows: Mapping[int, LookupRow],
    axes: LookupAxes,
    positions: Floats | None = None,
) -> LadderAnswers:
    """Probabilities for every strike at one price and TTC, from the rows around that TTC.

    A strike above the price uses the upward probability, any other the downward one. `positions`: where the strikes lie
    on the axis, by the model's rule; without them by their move.
    """
    upward = strikes_usd > price_usd
    buffer = np.abs(strikes_usd - price_usd)
    move_bps = buffer / price_usd * BPS_PER_UNIT
    if positions is None:
        positions = scaled_move_bps(ttc_seconds, move_bps, axes.profile)
    return LadderAnswers(strikes_usd, buffer, move_bps, upward, read_ladder(rows, axes, ttc_seconds, positions, upward))


def answer_ladder_from(
    price_usd: float,
    strikes_usd: Floats,
    ttc_seconds: float,
    positive: Floats,
    negative: Floats,
    moves_bps: tuple[int, ...],
    profile: Profile,
    n_eff: float,
) -> LadderAnswers:
    """As `answer_ladder`, from one fingerprint ([h, m] percent per side): for the baseline, which has no lookup."""
    upward = strikes_usd > price_usd
    buffer = np.abs(strikes_usd - price_usd)
    asked_bps = buffer / price_usd * BPS_PER_UNIT
    sides = (interpolate_beyond(side, moves_bps, ttc_seconds, asked_bps, profile) for side in (positive, negative))
    beyond = served(np.where(upward, *sides), ttc_seconds, profile)
    clamped = is_clamped(ttc_seconds, asked_bps, len(positive) * SECONDS_PER_MINUTE, moves_bps[-1], profile)
    reading = Reading(beyond, clamped, n_eff, np.full(len(strikes_usd), np.nan))
    return LadderAnswers(strikes_usd, buffer, asked_bps, upward, reading)


def tidy(value: float) -> float | int:
    """Whole numbers without their decimal point, so that a strike reads 95000 and not 95000.0."""
    return int(value) if float(value).is_integer() else value


@dataclass(frozen=True)
class LiveState:
    """What a live answer is made of, at `now` (aware UTC)."""

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
    """The live probability JSON (contract of the original first, newer fields after it). Never holds a NaN.

    `status` is "stale" once the price is older than 2 s or nobody will renew the file (`last`), else "degraded" when
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
    """Whole seconds to the next top of the hour, 1..3600, rounded up: a market is not over before its last second."""
    return int(np.ceil((next_market_close(now) - now).total_seconds()))
