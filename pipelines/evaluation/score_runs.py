"""Score models on the stored bars of a symbol."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.score_report import WALK_FORWARD_RULE, ScoreRow, merged_tallies, score_rows
from pipelines.domain.evaluation.scoring import BrierDecomposition, brier_decomposition
from pipelines.domain.evaluation.walk_forward import Fold, Plan, candidates, walk_forward
from pipelines.domain.prices.bars import MINUTES_PER_DAY, instant_of_minute, minute_of_instant
from pipelines.domain.prices.history import MarketHistory
from pipelines.errors import NoDataError, SettingsError
from pipelines.log import Log
from pipelines.storage.evaluation.scores import WALK_FORWARD, write_scores
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.reading import read
from pipelines.storage.prices.history import read_market_history

DEFAULT_MODELS = ("climatology", "momentum", "standardised", "student_t", "normal")
#: The default range is the newest year, or the newer half of a shorter history.
SCORED_DAYS = 365
#: Minimum history before the default range, for the first fit.
MIN_FIT_DAYS = 14
FOLD_MONTHS = 3


@dataclass(frozen=True)
class ScoreReport:
    """Walk-forward evaluation of one symbol: plan, folds and score rows."""

    symbol: str
    plan: Plan
    folds: tuple[Fold, ...]
    rows: tuple[ScoreRow, ...]

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end of the scored range, UTC."""
        return instant_of_minute(self.plan.start), instant_of_minute(self.plan.stop)

    @property
    def decompositions(self) -> dict[str, BrierDecomposition]:
        """Brier decomposition of each model."""
        return {label: brier_decomposition(tally) for label, tally in merged_tallies(self.folds).items()}

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        first, last = self.span
        return {
            "symbol": self.symbol,
            "from": first.isoformat(),
            "to": last.isoformat(),
            "settlement": WALK_FORWARD_RULE,
            "plan": self.plan_as_json(),
            "murphy": {label: asdict(parts) for label, parts in self.decompositions.items()},
            "scores": [row.as_json() for row in self.rows],
        }

    def plan_as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        plan = {name: value for name, value in asdict(self.plan).items() if name not in ("start", "stop")}
        return {**plan, "models": list(self.folds[0].tallies)}


def newest_plan(history: MarketHistory) -> Plan:
    """The newest year in quarters, or the newer half of a shorter history. Raises ValueError when too short."""
    days = len(history) // MINUTES_PER_DAY
    scored = min(SCORED_DAYS, days // 2)
    if days - scored < MIN_FIT_DAYS:
        raise ValueError(f"{days} days of bars are too few to fit on {MIN_FIT_DAYS} days and score the rest")
    stop = history.end // MINUTES_PER_DAY * MINUTES_PER_DAY
    return Plan(stop - scored * MINUTES_PER_DAY, stop, fold_months=FOLD_MONTHS)


def score_symbol(
    history: MarketHistory,
    symbol: str,
    models: Sequence[str],
    config: ModelConfig,
    plan: Plan | None = None,
    log: Log = lambda _: None,
) -> ScoreReport:
    """Evaluate models, and climatology as the reference of the skill, on a history; by default on `newest_plan`.

    Raises NoDataError when there is too little history, and ValueError for an unknown model.
    """
    entries = candidates(list(dict.fromkeys(["climatology", *models])), config)
    try:
        chosen = plan or newest_plan(history)
        folds = walk_forward(history, entries, chosen, log)
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
    """Evaluate models on a symbol's stored bars between two instants (UTC), by default over the newest year.

    Raises NoDataError when there are too few bars, and SettingsError for invalid arguments.
    """
    try:
        candidates(models, config)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    history = read(database, "score", lambda connection: read_market_history(connection, symbol, config))
    log(f"{len(history):,} minutes of {symbol} read")
    try:
        if start is None and stop is None:
            plan = replace(newest_plan(history), every_minutes=every_minutes, fold_months=fold_months)
        else:
            newest = instant_of_minute(history.end)
            until = newest if stop is None else stop.replace(tzinfo=UTC)
            since = until - timedelta(days=SCORED_DAYS) if start is None else start.replace(tzinfo=UTC)
            plan = Plan(minute_of_instant(since), minute_of_instant(until), every_minutes, fold_months)
        if train_to is not None:
            plan = replace(plan, train_to=minute_of_instant(train_to.replace(tzinfo=UTC)))
    except ValueError as error:
        raise SettingsError(f"{symbol}: {error}") from error
    return score_symbol(history, symbol, models, config, plan, log)


def store_report(database: Database, report: ScoreReport) -> int:
    """Store a report in analytics.score_run and analytics.score, and return its number."""
    with database.connect("score", Role.PIPELINE) as connection:
        return write_scores(connection, report.symbol, WALK_FORWARD, report.span, report.plan_as_json(), report.rows)
