"""The model against the quotes of settled markets: scores of the mid, the model, their pool and climatology.

All forecasters are scored on the same quotes. Differences to the mid are paired; their intervals resample events, and
days of closes, because the minutes and strikes of one event are far from independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.block_bootstrap import block_intervals
from pipelines.domain.evaluation.recorded_quotes import RecordedQuotes
from pipelines.domain.evaluation.replay import ReplayedDay, folds, replay
from pipelines.domain.evaluation.scoring import LOG_LOSS_CLIP, RELIABILITY_BINS, Bools, Interval
from pipelines.domain.evaluation.walk_forward import BAND_SIGMA_MINUTES
from pipelines.domain.markets.basis import QuotedBasis
from pipelines.domain.markets.pool import PoolDecision, pool_decision, pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.base import Model
from pipelines.domain.models.registry import model_named
from pipelines.domain.models.standardised import shared_parameters
from pipelines.domain.models.standardised_fingerprint import sigma_of_rows
from pipelines.domain.prices.bars import MINUTES_PER_DAY, SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.history import MarketHistory


class Forecaster(StrEnum):
    """Who gives a probability of YES."""

    MID = "mid"
    MODEL = "model"
    #: Half of the log odds of the mid and of the model.
    POOL = "pool"
    #: The distribution of all bars, by time to close and distance alone, at the same settlement and basis.
    CLIMATOLOGY = "climatology"


class Dimension(StrEnum):
    """What quotes are grouped by."""

    ALL = "all"
    TTC = "ttc_minutes"
    SPREAD = "spread_cents"
    VOLATILITY = "volatility"


#: Groups of minutes to the close, and of cents between bid and ask; both ends belong to them.
TTC_GROUPS = ((1, 2), (3, 5), (6, 10), (11, 15), (16, 30), (31, 45), (46, 59))
SPREAD_GROUPS = ((0, 2), (3, 3), (4, 4), (5, 6), (7, 20))
#: Fifths of the quoted minutes by the volatility forecast, 1 the calmest.
VOLATILITY_GROUPS = 5


@dataclass(frozen=True)
class Forecasts:
    """P(yes) of each quote by forecaster, fractions: float64[n] each.

    `bases_bps`: float64[n], the basis by the quotes of earlier minutes, 0 without one; `sigma`: float64[n], forecast
    volatility of the hour after each quote, per square root of a minute.
    """

    quotes: RecordedQuotes
    probabilities: Mapping[Forecaster, Floats]
    bases_bps: Floats
    sigma: Floats


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % intervals, events or days resampled; None for fewer than 2 of them."""

    value: float
    by_event: Interval | None
    by_day: Interval | None


@dataclass(frozen=True)
class EdgeScore:
    """Scores of one forecaster on a group of quotes. `differences`: minus the score of the mid, below 0 is better."""

    dimension: Dimension
    level: str
    forecaster: Forecaster
    quotes: int
    events: int
    days: int
    mean_probability: float
    observed_frequency: float
    brier: Estimate
    log_loss: Estimate
    brier_difference: Estimate
    log_loss_difference: Estimate


def forecasts(
    history: MarketHistory, quotes: RecordedQuotes, rule: SettlementRule, model: Model, config: ModelConfig
) -> Forecasts:
    """Forecasts of one series' quotes that have bars (`quotes_with_bars`), at least one.

    Causal: models are fitted on bars before the day of a quote, and the basis is that of the quotes of earlier minutes.
    Raises ValueError when too little is known at the first quote, or a model has no probability for one.
    """
    quoted = QuotedBasis()
    parts: list[tuple[Floats, Floats, Floats, Floats]] = []
    for fold in folds(quotes):
        replays = (replay(history, fold, each, config) for each in (model, model_named(Forecaster.CLIMATOLOGY)))
        for day, climatology in zip(*replays, strict=True):
            bases = day.quoted_bases(rule, quoted)
            by_model, by_climatology = (one.probabilities(rule, bases[:, None])[:, 0] for one in (day, climatology))
            parts.append((by_model, by_climatology, bases, _sigma(day, fold)))
        history.cache.clear()
    by_model, by_climatology, bases, sigma = (np.concatenate(column) for column in zip(*parts, strict=True))
    probabilities = {
        Forecaster.MID: quotes.mids,
        Forecaster.MODEL: by_model,
        Forecaster.POOL: pooled_with(quotes.mids, by_model),
        Forecaster.CLIMATOLOGY: by_climatology,
    }
    for name, found in probabilities.items():
        if unknown := int(np.isnan(found).sum()):
            named = model.name if name is Forecaster.MODEL else name
            raise ValueError(f"{named} has no probability for {unknown} quotes: it was fitted on too little history")
    return Forecasts(quotes, probabilities, bases, sigma)


def edge_scores(forecast: Forecasts) -> list[EdgeScore]:
    """Scores of every forecaster over all quotes and over each group that has some."""
    return [
        score for dimension, level, rows in _groups(forecast) for score in _scores(forecast, dimension, level, rows)
    ]


def overall(scores: Sequence[EdgeScore], forecaster: Forecaster) -> EdgeScore:
    """A forecaster's scores over all quotes."""
    return next(one for one in scores if one.dimension is Dimension.ALL and one.forecaster is forecaster)


def decision(scores: Sequence[EdgeScore]) -> PoolDecision:
    """Whether the pool is served, by these scores."""
    pool = overall(scores, Forecaster.POOL)
    interval = pool.brier_difference.by_event
    return pool_decision(
        pool.events, pool.brier_difference.value, None if interval is None else (interval.low, interval.high)
    )


def edge_reliability_bins(forecast: Forecasts, forecaster: Forecaster) -> list[tuple[float, float]]:
    """Mean P(yes) and share of YES, fractions, in the bins of 5 % of P(yes) that have quotes."""
    probabilities = forecast.probabilities[forecaster]
    bins = np.minimum((probabilities * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    _, number, n = np.unique(bins, return_inverse=True, return_counts=True)
    means = (np.bincount(number, weights=values) / n for values in (probabilities, forecast.quotes.outcomes))
    return list(zip(*(mean.tolist() for mean in means), strict=True))


def cumulative_difference(forecast: Forecasts, forecaster: Forecaster) -> Floats:
    """Brier difference to the mid added up over events, by their close: float64[events].

    The last value is the difference over all quotes.
    """
    quotes = forecast.quotes
    losses = ((forecast.probabilities[each] - quotes.outcomes) ** 2 for each in (forecaster, Forecaster.MID))
    excess = np.subtract(*losses)
    closes_at = quotes.instants * SECONDS_PER_MINUTE + quotes.ttc_seconds
    _, first, event = np.unique(quotes.events, return_index=True, return_inverse=True)
    sums = np.bincount(event, weights=excess)[np.argsort(closes_at[first], kind="stable")]
    return np.cumsum(sums) / len(quotes)


def _sigma(day: ReplayedDay, fold: RecordedQuotes) -> Floats:
    """Of the standardised model's forecast, whatever the model: fitted at the start of the fold."""
    start = int(fold.instants[0]) // MINUTES_PER_DAY * MINUTES_PER_DAY
    parameters, track = shared_parameters(day.history, start)
    return sigma_of_rows(parameters.volatility, track, day.rows, BAND_SIGMA_MINUTES)


def _groups(forecast: Forecasts) -> list[tuple[Dimension, str, Bools]]:
    quotes = forecast.quotes
    minutes, cents = quotes.ttc_seconds // SECONDS_PER_MINUTE, np.rint(100 * (quotes.asks - quotes.bids))
    found = [(Dimension.ALL, "all", np.ones(len(quotes), dtype=np.bool_))]
    for dimension, values, groups in ((Dimension.TTC, minutes, TTC_GROUPS), (Dimension.SPREAD, cents, SPREAD_GROUPS)):
        for first, last in groups:
            level = str(first) if first == last else f"{first}-{last}"
            found.append((dimension, level, (values >= first) & (values <= last)))
    bands = _volatility_bands(forecast)
    found += [(Dimension.VOLATILITY, str(band + 1), bands == band) for band in range(VOLATILITY_GROUPS)]
    return [(dimension, level, rows) for dimension, level, rows in found if rows.any()]


def _volatility_bands(forecast: Forecasts) -> Ints:
    """0..4 by the quantiles of sigma over the quoted minutes, each of which counts once."""
    _, first = np.unique(forecast.quotes.instants, return_index=True)
    edges = np.quantile(forecast.sigma[first], np.arange(1, VOLATILITY_GROUPS) / VOLATILITY_GROUPS)
    return np.searchsorted(edges, forecast.sigma)


def _scores(forecast: Forecasts, dimension: Dimension, level: str, rows: Bools) -> list[EdgeScore]:
    outcomes = forecast.quotes.outcomes[rows]
    events, days = forecast.quotes.events[rows], forecast.quotes.close_days[rows]
    probabilities = np.stack([forecast.probabilities[each][rows] for each in Forecaster], axis=1)
    given = np.clip(np.where(outcomes[:, None], probabilities, 1.0 - probabilities), LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    losses = np.stack([(probabilities - outcomes[:, None]) ** 2, -np.log(given)], axis=1)
    # [n, 4, forecasters]: Brier and log loss, then both minus those of the mid, which comes first.
    measures = np.concatenate([losses, losses - losses[:, :, :1]], axis=1)
    flat = measures.reshape(len(outcomes), -1)
    by_event, by_day = (_intervals(flat, blocks) for blocks in (events, days))
    estimates = [Estimate(*one) for one in zip(flat.mean(axis=0).tolist(), by_event, by_day, strict=True)]
    counts = len(outcomes), len(np.unique(events)), len(np.unique(days))
    return [
        EdgeScore(
            dimension,
            level,
            forecaster,
            *counts,
            float(probabilities[:, number].mean()),
            float(outcomes.mean()),
            *estimates[number :: len(Forecaster)],
        )
        for number, forecaster in enumerate(Forecaster)
    ]


def _intervals(values: Floats, blocks: Ints) -> Sequence[Interval | None]:
    try:
        return block_intervals(values, blocks)
    except ValueError:  # one block
        return [None] * values.shape[1]
