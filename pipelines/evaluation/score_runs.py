"""Scoring the models on a symbol's stored bars."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.score_report import ScoreRow, merged_tallies, score_rows
from pipelines.domain.evaluation.scoring import BrierDecomposition, brier_decomposition
from pipelines.domain.evaluation.walk_forward import Fold, Plan, candidates, walk_forward
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.volatility import MINUTES_PER_DAY
from pipelines.errors import NoDataError, SettingsError
from pipelines.log import Log
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import read_closes

DEFAULT_MODELS = ("climatology", "momentum", "standardised", "student_t", "normal")
#: A walk-forward scores the newest year, or the newer half of a shorter history...
SCORED_DAYS = 365
#: ...and needs so many days before it to fit on.
LEAST_FIT_DAYS = 14
FOLD_MONTHS = 3


@dataclass(frozen=True)
class ScoreReport:
    """A walk-forward on one symbol: how it was made, its folds, and its scores as rows."""

    symbol: str
    plan: Plan
    folds: tuple[Fold, ...]
    rows: tuple[ScoreRow, ...]

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From the first forecast up to, UTC."""
        first, last = (datetime.fromtimestamp(minute * 60, UTC) for minute in (self.plan.start, self.plan.stop))
        return first, last

    @property
    def decompositions(self) -> dict[str, BrierDecomposition]:
        """Each model's Brier score in parts: reliability (0 is right), resolution, uncertainty, and the rest."""
        return {label: brier_decomposition(tally) for label, tally in merged_tallies(self.folds).items()}

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        first, last = self.span
        return {
            "symbol": self.symbol,
            "from": first.isoformat(),
            "to": last.isoformat(),
            "plan": self.plan_as_json(),
            "murphy": {label: asdict(parts) for label, parts in self.decompositions.items()},
            "scores": [row.as_json() for row in self.rows],
        }

    def plan_as_json(self) -> dict[str, Any]:
        """How it was made, as plain JSON values."""
        plan = self.plan
        return {
            "every_minutes": plan.every_minutes,
            "fold_months": plan.fold_months,
            "train_to": plan.train_to,
            "ttcs_minutes": list(plan.ttcs_minutes),
            "moves_bps": list(plan.moves_bps),
            "models": list(self.folds[0].tallies),
        }


def newest_plan(history: MarketHistory) -> Plan:
    """The newest year in quarters, or the newer half of a shorter history. Raises ValueError when that is too short."""
    days = len(history) // MINUTES_PER_DAY
    scored = min(SCORED_DAYS, days // 2)
    if days - scored < LEAST_FIT_DAYS:
        raise ValueError(f"{days} days of bars are too few to fit on {LEAST_FIT_DAYS} of them and to score the rest")
    stop = history.end // MINUTES_PER_DAY * MINUTES_PER_DAY
    return Plan(stop - scored * MINUTES_PER_DAY, stop, fold_months=FOLD_MONTHS)


def read_history(connection: Connection, symbol: str, config: ModelConfig) -> MarketHistory:
    """All stored bars with their momentum. Raises NoDataError when there are none."""
    closes = read_closes(connection, symbol)
    return market_history(closes, compute_momentum(closes, config))


def score_symbol(
    history: MarketHistory,
    symbol: str,
    models: Sequence[str],
    config: ModelConfig,
    plan: Plan | None = None,
    log: Log = lambda _: None,
) -> ScoreReport:
    """Walk forward over a history; climatology always takes part, since skill is counted from it.

    Raises NoDataError when there is too little to fit on or nothing to score, ValueError for an unknown model.
    """
    names = list(dict.fromkeys(["climatology", *models]))
    taking_part = candidates(names, config)
    try:
        chosen = plan or newest_plan(history)
        folds = walk_forward(history, taking_part, chosen, log)
        return ScoreReport(symbol, chosen, tuple(folds), tuple(score_rows(folds)))
    except ValueError as error:
        raise NoDataError(f"{symbol}: {error}") from error


def score_stored(
    database: Database,
    symbol: str,
    models: Sequence[str],
    config: ModelConfig,
    start: datetime | None,
    stop: datetime | None,
    *,
    every_minutes: int,
    fold_months: int | None,
    train_to: datetime | None,
    log: Log,
) -> ScoreReport:
    """Walk forward over a symbol's stored bars between two instants (UTC), by default over the newest year.

    Raises NoDataError when there are too few bars, SettingsError for what cannot be meant.
    """
    try:
        candidates(models, config)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    with database.connect("score", Role.READER) as connection:
        history = read_history(connection, symbol, config)
    log(f"{len(history):,} minutes of {symbol} read")
    try:
        if start is None and stop is None:
            plan = replace(newest_plan(history), every_minutes=every_minutes, fold_months=fold_months)
        else:
            newest = datetime.fromtimestamp(history.end * 60, UTC)
            until = newest if stop is None else stop.replace(tzinfo=UTC)
            since = until - timedelta(days=SCORED_DAYS) if start is None else start.replace(tzinfo=UTC)
            plan = Plan(_minute(since), _minute(until), every_minutes, fold_months)
        if train_to is not None:
            plan = replace(plan, train_to=_minute(train_to.replace(tzinfo=UTC)))
    except ValueError as error:
        raise SettingsError(f"{symbol}: {error}") from error
    return score_symbol(history, symbol, models, config, plan, log)


def _minute(instant: datetime) -> int:
    return int((instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(minutes=1))
