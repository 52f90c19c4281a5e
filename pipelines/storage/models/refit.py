"""Update volatility and counts to the newest bar: incrementally, or from all bars when a refit is due."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import FittedModel
from pipelines.domain.models.refit import MIN_OWN_DAYS, CurrentFit, due_refit, fit_due
from pipelines.domain.models.registry import all_models
from pipelines.domain.models.standardised_fingerprint import (
    HORIZON_MINUTES,
    OLDEST_WEEKS,
    StandardisedParameters,
    count_weeks,
    fit_tables,
    week_of_row,
)
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, minute_of_instant
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.models.volatility import (
    StoredParameters,
    count_days,
    read_counts,
    read_parameters,
    read_track,
    read_volatility_state,
    write_counts,
    write_parameters,
    write_track,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.prices.history import bar_range, read_market_history
from pipelines.storage.prices.increments import LOOK_BACK_MINUTES
from pipelines.storage.prices.progress import newest_ingestion, read_progress, record_progress

VOLATILITY, COUNTS = "volatility", "standardised_fingerprint"


@dataclass(frozen=True)
class VolatilityUpdate:
    """Result of an update of volatility. `fit`: reason for a refit, None without one."""

    parameters_id: int
    parameters: StandardisedParameters
    borrowed_from: str | None
    fit: str | None
    days: int
    days_written: int


@dataclass(frozen=True)
class CountsUpdate:
    """Result of an update of counts, with every model fitted on them."""

    fitted: tuple[FittedModel, ...]
    borrowed_from: str | None
    rows_counted: int
    weeks: int


def update_volatility(
    connection: Connection, symbol: str, lenders: Sequence[str], *, refit: bool = False
) -> VolatilityUpdate:
    """Update a symbol's volatility to its newest bar; needs a transaction.

    `lenders`: symbols whose parameters may be borrowed while the symbol's own history is short. Raises NoDataError when
    there are too few bars and BuildError when they never move.
    """
    lock_symbol(connection, "strikecast.volatility", symbol)
    ingestion = newest_ingestion(connection, symbol)
    bars = bar_range(connection, symbol)
    if bars.first_bar_at is None or bars.last_bar_at is None:
        raise NoDataError(
            f"{symbol} has no bars: run `strikecast ingest {symbol} PATH` or `strikecast sample {symbol}`"
        )
    first, end = minute_of_instant(bars.first_bar_at), minute_of_instant(bars.last_bar_at) + 1
    stored, lender = read_parameters(connection, symbol), _lender(connection, lenders)
    fitted = None
    if stored is not None:
        outdated = stored.parameters.volatility.outdated
        fitted = CurrentFit(minute_of_instant(stored.fitted_until), bool(stored.borrowed_from), outdated)
    try:
        due = due_refit(fitted, first, end, can_borrow=lender is not None, requested=refit)
    except ValueError as error:
        raise NoDataError(f"{symbol}: {error}") from error
    try:
        if due is None:
            assert stored is not None
            days_written = _extend(connection, symbol, stored, end)
            parameters_id, parameters, borrowed_from = stored.parameters_id, stored.parameters, stored.borrowed_from
        else:
            history = read_market_history(connection, symbol, ModelConfig())
            borrowed_from, lent = lender if due.borrowed and lender is not None else (None, None)
            parameters = fit_due(due, history, lent)
            parameters_id = write_parameters(connection, symbol, parameters, borrowed_from)
            track = history.track(parameters.volatility)
            days_written = write_track(connection, symbol, parameters_id, track, history.first_minute)
    except ValueError as error:
        raise BuildError(f"{symbol}: {error}") from error
    record_progress(connection, symbol, VOLATILITY, ingestion, end, parameters_id=parameters_id)
    return VolatilityUpdate(
        parameters_id,
        parameters,
        borrowed_from,
        due.reason if due else None,
        count_days(connection, symbol),
        days_written,
    )


def _extend(connection: Connection, symbol: str, stored: StoredParameters, end: int) -> int:
    """Compute new states with the current parameters; returns the number of days written."""
    progress = read_progress(connection, symbol, VOLATILITY)
    from_minute = 0 if progress is None else progress.stale_from
    if from_minute >= end:
        return 0
    begin = from_minute // MINUTES_PER_DAY * MINUTES_PER_DAY
    before = read_volatility_state(connection, symbol, begin - 1)
    history = read_market_history(connection, symbol, ModelConfig(), 0 if before is None else begin)
    if before is not None:
        history = history.starting_at(begin)
    track = history.track(stored.parameters.volatility, before)
    return write_track(connection, symbol, stored.parameters_id, track, history.first_minute)


def update_counts(connection: Connection, symbol: str) -> CountsUpdate:
    """Update a symbol's counts to its volatility and fit every model that is made of them; needs a transaction.

    Raises NoDataError without volatility, BuildError when no outcome is known yet.
    """
    lock_symbol(connection, "strikecast.counts", symbol)
    stored = read_parameters(connection, symbol)
    source = read_progress(connection, symbol, VOLATILITY)
    if stored is None or source is None:
        raise NoDataError(f"{symbol} has no volatility: materialize `volatility`, or run `strikecast build {symbol}`")
    end, rows = source.done_until, 0
    week = end // MINUTES_PER_WEEK
    if stored.borrowed_from is None:
        rows = _count(connection, symbol, stored, end)
    weeks = read_counts(connection, stored.borrowed_from or symbol, week - OLDEST_WEEKS + 1, week)
    if not weeks and stored.borrowed_from is not None:  # the bars are older than the lender's counts
        weeks = read_counts(connection, stored.borrowed_from, 0, 2**15 - 1)
        week = max(weeks, default=week)
    try:
        counted = fit_tables(weeks, week)
    except ValueError as error:
        raise BuildError(f"{symbol}: {error}") from error
    models = [model.from_counts(counted, stored.parameters, end) for model in all_models().values()]
    # Later ingestions are not in volatility yet, so they are not counted either.
    record_progress(connection, symbol, COUNTS, source.ingestion_id, end, parameters_id=stored.parameters_id)
    return CountsUpdate(tuple(fitted for fitted in models if fitted), stored.borrowed_from, rows, len(weeks))


def _count(connection: Connection, symbol: str, stored: StoredParameters, end: int) -> int:
    """Count new and changed weeks; returns the number of base rows in them."""
    progress = read_progress(connection, symbol, COUNTS)
    from_week = end // MINUTES_PER_WEEK - OLDEST_WEEKS + 1
    if progress is not None and progress.parameters_id == stored.parameters_id:
        if progress.stale_from >= end:
            return 0
        from_week = max(from_week, week_of_row(progress.stale_from - HORIZON_MINUTES))
    since = from_week * MINUTES_PER_WEEK - HORIZON_MINUTES
    history = read_market_history(connection, symbol, ModelConfig(), since - LOOK_BACK_MINUTES).until(end)
    track = read_track(connection, symbol, history.first_minute, history.end)
    weeks = count_weeks(history, stored.parameters, track, since)
    write_counts(connection, symbol, stored.parameters_id, weeks, from_week)
    return int(sum(counts[0].sum() for counts in weeks.values()))


def _lender(connection: Connection, lenders: Sequence[str]) -> tuple[str, StandardisedParameters] | None:
    """The first symbol with counts and with parameters fitted on enough days of its own."""
    for symbol in lenders:
        stored, bars = read_parameters(connection, symbol), bar_range(connection, symbol)
        if stored is None or stored.borrowed_from or bars.first_bar_at is None or bars.last_bar_at is None:
            continue
        counted = read_progress(connection, symbol, COUNTS)
        if counted is not None and (bars.last_bar_at - bars.first_bar_at).days >= MIN_OWN_DAYS:
            return symbol, stored.parameters
    return None
