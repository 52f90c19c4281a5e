"""Walk-forward evaluation: models are fitted on past bars and scored on later ones.

Each fold starts with a fit on all earlier bars; models with daily updates are then updated each day. A bar is a base
row when the instant of its close is a multiple of k minutes. A fit uses only base rows whose longest horizon had
passed, so that training and scored cases do not overlap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.evaluation.scoring import DEFAULT_MOVES_BPS, DEFAULT_TTCS_MINUTES, ScoreGrid, Tally
from pipelines.domain.models import probability
from pipelines.domain.models.base import FittedModel
from pipelines.domain.models.registry import model_named
from pipelines.domain.models.standardised import shared_parameters
from pipelines.domain.models.standardised_fingerprint import sigma_of_rows
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import BPS_PER_UNIT

VOLATILITY_BANDS = 10
BAND_SIGMA_MINUTES = 60
#: Limits of |S| between the momentum bands, in basis points.
MOMENTUM_EDGES_BPS = (2.0, 5.0, 10.0, 20.0, 30.0)
HOURS = 24


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate. `label`: name of its scores."""

    label: str
    model: str
    config: ModelConfig


def candidates(names: Sequence[str], config: ModelConfig) -> list[Candidate]:
    """Candidates by model name; `momentum_source` is momentum in the source profile. Raises ValueError."""
    found = []
    for name in names:
        source = name == "momentum_source"
        model = model_named("momentum" if source else name)
        found.append(Candidate(name, model.name, ModelConfig(profile=Profile.SOURCE) if source else config))
    return found


@dataclass(frozen=True)
class Plan:
    """Range and cases of an evaluation. Base rows close from `start` to `stop` - 1, in minutes since 1970-01-01 UTC.

    `fold_months`: length of a fold; None for one fold. `train_to`: instant of a single fit without updates; None for a
    fit at the start of each fold and daily updates. Raises ValueError for invalid values.
    """

    start: int
    stop: int
    every_minutes: int = 5
    fold_months: int | None = None
    train_to: int | None = None
    ttcs_minutes: tuple[int, ...] = DEFAULT_TTCS_MINUTES
    moves_bps: tuple[int, ...] = DEFAULT_MOVES_BPS

    def __post_init__(self) -> None:
        if self.stop <= self.start:
            raise ValueError("the range to score is empty: its end is not after its start")
        if self.every_minutes < 1:
            raise ValueError(f"every_minutes must be 1 or more, not {self.every_minutes}")
        if self.fold_months is not None and self.fold_months < 1:
            raise ValueError(f"fold_months must be 1 or more, not {self.fold_months}")
        if self.train_to is not None and self.train_to > self.start:
            raise ValueError("train_to is after the first forecast")

    def folds(self) -> list[tuple[int, int]]:
        """Start and stop of each fold; the last one may be shorter."""
        starts = [self.start]
        if self.fold_months is not None:
            first = np.datetime64(self.start, "m")
            within_month = first - first.astype("datetime64[M]").astype("datetime64[m]")
            while starts[-1] < self.stop:
                month = first.astype("datetime64[M]") + len(starts) * self.fold_months
                starts.append(int((month.astype("datetime64[m]") + within_month).astype(np.int64)))
            starts.pop()
        return list(pairwise([*starts, self.stop]))

    def grid(self) -> ScoreGrid:
        """Dimensions of the tallies."""
        weeks = (self.stop - self.start) // MINUTES_PER_WEEK + 1
        levels = {
            "volatility_band": VOLATILITY_BANDS,
            "hour": HOURS,
            "week": weeks,
            "momentum_band": len(MOMENTUM_EDGES_BPS) + 1,
        }
        return ScoreGrid(self.ttcs_minutes, self.moves_bps, levels)


@dataclass(frozen=True)
class Fold:
    """Tallies of one fold by candidate label; `start` and `stop` are instants."""

    start: int
    stop: int
    tallies: Mapping[str, Tally]


def walk_forward(
    history: MarketHistory, models: Sequence[Candidate], plan: Plan, log: Callable[[str], None] = lambda _: None
) -> list[Fold]:
    """Score every candidate on every fold. Raises ValueError when a fold's start has too little history.

    The volatility bands are tenths of the whole range by one fit at its start, so that they do not depend on the folds.
    """
    folds = []
    band_of_row = _volatility_bands(history, plan)
    for start, stop in plan.folds():
        fold = Fold(start, stop, {candidate.label: Tally(plan.grid()) for candidate in models})
        rows_by_day = _base_rows(history, start, stop, plan.every_minutes)
        for candidate in models:
            days = [instant if plan.train_to is None else plan.train_to for instant, _ in rows_by_day]
            fits = model_named(candidate.model).fit_each(history, days, candidate.config)
            for fitted, (_, rows) in zip(fits, rows_by_day, strict=True):
                _score_day(fold.tallies[candidate.label], fitted, history, rows, band_of_row[rows], plan)
            log(f"{candidate.label} scored")
        history.cache.clear()
        folds.append(fold)
    return folds


def _base_rows(history: MarketHistory, start: int, stop: int, every: int) -> list[tuple[int, Ints]]:
    """Days as (instant of the daily update, base rows that close from then on)."""
    days = []
    for instant in range(start, stop, MINUTES_PER_DAY):
        until = min(instant + MINUTES_PER_DAY, stop)
        closes_at = np.arange(instant + (-instant) % every, until, every)
        rows = closes_at - 1 - history.first_minute
        rows = rows[(rows >= 0) & (rows < len(history))]
        rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
        if len(rows):
            days.append((instant, rows))
    if not days:
        raise ValueError("there are no bars with momentum in the range to score")
    return days


def _volatility_bands(history: MarketHistory, plan: Plan) -> Ints:
    """Decile of each base row by 60-minute volatility forecast, 0 is the calmest; -1 for other rows."""
    rows = np.concatenate([rows for _, rows in _base_rows(history, plan.start, plan.stop, plan.every_minutes)])
    parameters, track = shared_parameters(history, plan.start if plan.train_to is None else plan.train_to)
    sigma = sigma_of_rows(parameters.volatility, track, rows, BAND_SIGMA_MINUTES)
    bands = np.full(len(history), -1)
    bands[rows] = np.searchsorted(np.quantile(sigma, np.arange(1, VOLATILITY_BANDS) / VOLATILITY_BANDS), sigma)
    return bands


def outcomes(
    history: MarketHistory, rows: Ints, ttc_minutes: int, moves_bps: Ints
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """bool[n, k]: the later close is at or past the move, ties included; bool[n]: the later bar exists."""
    later = rows + ttc_minutes
    inside = later < len(history)
    close = np.where(inside, history.scaled[np.minimum(later, len(history) - 1)], np.nan)
    base = history.scaled[rows]
    # Both sides are whole numbers, so that ties compare as equal.
    change = (close - base)[:, None] * BPS_PER_UNIT
    threshold = base[:, None] * moves_bps[None, :]
    with np.errstate(invalid="ignore"):
        return np.where(moves_bps > 0, change >= threshold, change <= threshold), ~np.isnan(close)


def _score_day(tally: Tally, fitted: FittedModel, history: MarketHistory, rows: Ints, bands: Ints, plan: Plan) -> None:
    moves = np.array(plan.moves_bps)
    shape = (len(rows), len(plan.ttcs_minutes), len(moves))
    probabilities, outcome = np.empty(shape), np.empty(shape, dtype=np.bool_)
    known = np.empty(shape[:2], dtype=np.bool_)
    states = fitted.rule.states(history, rows)
    for i, ttc in enumerate(plan.ttcs_minutes):
        probabilities[:, i] = probability.for_scoring(fitted, states, ttc, moves.astype(np.float64))
        outcome[:, i], known[:, i] = outcomes(history, rows, ttc, moves)
    unanswered = int((np.isnan(probabilities).any(axis=2) & known).sum())
    if unanswered:
        raise ValueError(
            f"{fitted.name} has no probability for {unanswered} cases of a day: the fit had too little history for "
            "some states"
        )
    instants = history.first_minute + rows + 1
    labels = {
        "volatility_band": bands,
        "hour": instants // 60 % HOURS,
        "week": (instants - plan.start) // MINUTES_PER_WEEK,
        "momentum_band": np.searchsorted(np.array(MOMENTUM_EDGES_BPS), np.abs(history.score[rows]) * BPS_PER_UNIT),
    }
    tally.add(probabilities, outcome, known, labels)
