"""Score the model against the stored quotes of a symbol's markets, for Dagster and the command line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.edge import EdgeScore, Estimate, Forecasts, decision, edge_scores, forecasts
from pipelines.domain.evaluation.recorded_quotes import Candles, RecordedQuotes, SettledMarkets
from pipelines.domain.evaluation.replay import quotes_with_bars
from pipelines.domain.markets.pool import NOT_SCORED, PoolDecision
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import instant_of_minute
from pipelines.domain.prices.history import MarketHistory
from pipelines.errors import NoDataError, SettingsError
from pipelines.log import Log
from pipelines.storage.evaluation.edge import (
    EdgeRun,
    StoredMarkets,
    StoredSeries,
    read_candles,
    read_closed_markets,
    read_pool_decisions,
    read_series,
    write_edge,
)
from pipelines.storage.models.champions import read_champion
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import read_market_history

#: Of a symbol without a published generation, of which nothing answers yet.
DEFAULT_MODEL = "standardised"
#: Candles are read for the closes of a month at a time: an hourly ladder of 40 strikes has 1.8 million.
READ_AT_A_TIME = timedelta(days=31)


@dataclass(frozen=True)
class SeriesQuotes:
    """The quotes of a series that count, and what was left out."""

    series: StoredSeries
    settled: SettledMarkets
    quotes: RecordedQuotes


@dataclass(frozen=True)
class EdgeInputs:
    """What scores are computed from; `model`: the symbol's champion; `history`: None without markets."""

    symbol: str
    model: str
    history: MarketHistory | None
    series: tuple[SeriesQuotes, ...]


@dataclass(frozen=True)
class SeriesEdge:
    """The scores of one series, and the forecasts that they are of."""

    run: EdgeRun
    scores: Sequence[EdgeScore]
    forecasts: Forecasts

    @property
    def decision(self) -> PoolDecision:
        """Whether the pool is served, by these scores."""
        return decision(self.scores)

    def as_json(self) -> dict[str, Any]:
        """What was scored, the scores, and the decision by them, as JSON values."""
        overall = self.scores[0]
        return {
            "exchange": self.run.exchange,
            "series_ticker": self.run.series_ticker,
            "settlement": self.run.settlement,
            "model": self.run.model,
            "from": self.run.scored_from.isoformat(),
            "to": self.run.scored_until.isoformat(),
            "quotes": overall.quotes,
            "events": overall.events,
            "days": overall.days,
            "left_out": dict(self.run.left_out),
            "refused": list(self.run.refused),
            "scores": [_score_as_json(score) for score in self.scores],
            "by_these_scores": decision_as_json(self.decision),
        }


@dataclass(frozen=True)
class EdgeReport:
    """The scores of a symbol's series; `not_scored`: reasons by (exchange, series)."""

    symbol: str
    series: tuple[SeriesEdge, ...]
    not_scored: Mapping[tuple[str, str], str]


def read_edge_inputs(
    connection: Connection,
    symbol: str,
    config: ModelConfig,
    *,
    series: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> EdgeInputs:
    """The bars of a symbol, its champion, and the quotes of its settled markets by series.

    `series`: only this one. `since`, `until`: only markets that close in this range (aware, half-open). Raises
    NoDataError for markets without bars, and SettingsError for an empty range.
    """
    if since is not None and until is not None and until <= since:
        raise SettingsError("the range to score is empty: its end is not after its start")
    found = [one for one in read_series(connection, symbol) if series in {None, one.series_ticker}]
    quotes = tuple(_read_quotes(connection, symbol, one, (since, until)) for one in found)
    history = read_market_history(connection, symbol, config) if found else None
    return EdgeInputs(symbol, champion_of(connection, symbol), history, quotes)


def score_edge(inputs: EdgeInputs, config: ModelConfig, log: Log = lambda _: None) -> EdgeReport:
    """Score the model against the quotes, each series of an exchange by itself; without a connection."""
    scored, not_scored = [], {}
    for one in inputs.series:
        name = f"{one.series.series_ticker} on {one.series.exchange}"
        try:
            assert inputs.history is not None
            scored.append(_score_series(inputs.symbol, one, inputs.model, inputs.history, config))
        except ValueError as error:
            not_scored[one.series.exchange, one.series.series_ticker] = str(error)
        else:
            log(f"{name}: {len(scored[-1].forecasts.quotes):,} quotes scored")
    return EdgeReport(inputs.symbol, tuple(scored), not_scored)


def store_edge(connection: Connection, report: EdgeReport, run_id: str | None = None) -> list[int]:
    """Store the scores of each series: they decide what is served. Returns the runs' numbers; needs a transaction."""
    return [write_edge(connection, one.run, one.scores, run_id) for one in report.series]


def served_now(connection: Connection, report: EdgeReport) -> dict[tuple[str, str], PoolDecision]:
    """What live sessions serve for each series of a report, by the stored scores."""
    by_exchange = {
        exchange: read_pool_decisions(connection, exchange) for exchange in {one.run.exchange for one in report.series}
    }
    keys = [(one.run.exchange, one.run.series_ticker) for one in report.series]
    return {(exchange, series): by_exchange[exchange].get(series, NOT_SCORED) for exchange, series in keys}


def champion_of(connection: Connection, symbol: str) -> str:
    """The model that answers for a symbol, or DEFAULT_MODEL."""
    try:
        return read_champion(connection, symbol).champion
    except NoDataError:
        return DEFAULT_MODEL


def _score_series(
    symbol: str, inputs: SeriesQuotes, model: str, history: MarketHistory, config: ModelConfig
) -> SeriesEdge:
    """Raises ValueError when the series cannot be scored."""
    series, settled = inputs.series, inputs.settled
    if len(series.settlements) > 1:
        raise ValueError(f"its markets settle on {' and '.join(series.settlements)}, expected one rule")
    rule = SettlementRule(series.settlements[0])
    quotes = quotes_with_bars(history, inputs.quotes)
    left_out = {**settled.left_out, "quotes without a bar at their minute": len(inputs.quotes) - len(quotes)}
    left_out = {reason: count for reason, count in left_out.items() if count}
    if not settled.event_tickers:
        first, last = series.first_close_at, series.last_close_at
        raise ValueError(f"no market closes in the range; they close from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    if not len(quotes):
        counts = [f"{count:,} {reason}" for reason, count in left_out.items()]
        raise ValueError("; ".join(["it has no quotes to score", *counts, *settled.refused]))
    first, last = (instant_of_minute(int(quotes.instants[row])) for row in (0, -1))
    try:
        found = forecasts(history, quotes, rule, model_named(model), config)
    except ValueError as error:
        raise ValueError(f"the bars before {first:%Y-%m-%d} are not enough: {error}") from error
    run = EdgeRun(
        series.exchange, symbol, series.series_ticker, rule, model, first, last, left_out, tuple(settled.refused)
    )
    return SeriesEdge(run, edge_scores(found), found)


def _read_quotes(
    connection: Connection, symbol: str, series: StoredSeries, span: tuple[datetime | None, datetime | None]
) -> SeriesQuotes:
    stored, candles = read_recording(connection, symbol, series, *span)
    settled = SettledMarkets(stored.markets)
    settled.refused += stored.refused
    return SeriesQuotes(series, settled, RecordedQuotes.joined([settled.quotes(month) for month in candles]))


def read_recording(
    connection: Connection, symbol: str, series: StoredSeries, since: datetime | None, until: datetime | None
) -> tuple[StoredMarkets, Iterator[Candles]]:
    """Markets of a series that close in a range (aware, half-open; None for no limit), and their candles by month."""
    after_last = series.last_close_at + timedelta(microseconds=1)
    first = max(series.first_close_at, since or series.first_close_at)
    last = min(after_last, until or after_last)
    of_series = (symbol, series.exchange, series.series_ticker)
    stored = read_closed_markets(connection, *of_series, first, last)
    return stored, (read_candles(connection, *of_series, *month, stored) for month in months(first, last))


def months(first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Ranges to read candles by: at least one, which is empty when `last` is not after `first`."""
    while True:
        stop = min(first + READ_AT_A_TIME, last)
        yield first, stop
        if stop >= last:
            return
        first = stop


def decision_as_json(decision: PoolDecision) -> dict[str, str]:
    """What is served and why, as JSON values."""
    return {"served": decision.name, "reason": decision.reason}


def _score_as_json(score: EdgeScore) -> dict[str, Any]:
    def value(one: object) -> object:
        if not isinstance(one, Estimate):
            return one
        intervals = {"by_event": one.by_event, "by_day": one.by_day}
        ends = {name: None if found is None else [found.low, found.high] for name, found in intervals.items()}
        return {"value": one.value, **ends}

    return {name: value(one) for name, one in vars(score).items()}
