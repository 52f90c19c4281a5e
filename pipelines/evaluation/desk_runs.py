"""Backtests of the paper desk on the stored quotes of a symbol's settled markets, for Dagster and the command line."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.desk.rules import DeskRules, Served
from pipelines.domain.evaluation.desk_backtest import Assumptions, DeskRecording, DeskRun, desk_inputs, run_desk
from pipelines.domain.evaluation.desk_quotes import (
    DeskMarkets,
    DeskQuotes,
    model_probabilities,
    pool_decisions,
    served_probabilities,
)
from pipelines.domain.evaluation.desk_report import DeskReport, DeskResult, desk_report
from pipelines.domain.evaluation.edge import Estimate
from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.markets.fees import FeeSchedule, FeeTerms
from pipelines.domain.markets.pool import pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.invariants import CheckResult
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.history import MarketHistory
from pipelines.errors import SettingsError
from pipelines.evaluation.edge_runs import champion_of, read_recording
from pipelines.log import Log
from pipelines.storage.evaluation.desk import (
    OF_SERIES,
    BacktestRun,
    read_fee_schedules,
    read_variants,
    write_backtest,
)
from pipelines.storage.evaluation.edge import StoredSeries, read_series
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import read_market_history

#: Without stored terms, those of most series.
USUAL_FEES = FeeTerms()
NOTHING = Decimal(0)


@dataclass(frozen=True)
class SeriesRecording:
    """The quotes of a series, the fee terms that are stored for it, and its markets that contradict themselves."""

    series: StoredSeries
    markets: DeskMarkets
    quotes: DeskQuotes
    fees: Mapping[str, FeeSchedule]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class BacktestInputs:
    """What backtests are made from; `model`: the symbol's champion; `history`: None without markets."""

    symbol: str
    model: str
    history: MarketHistory | None
    series: tuple[SeriesRecording, ...]


@dataclass(frozen=True)
class ReplayedSeries:
    """A series with the model's probability at each quote: any number of variants can be run on it.

    `by_model`: float64[n], P(yes), fractions; `usual_fees`: events without stored fee terms.
    """

    exchange: str
    settlement: SettlementRule
    model: str
    recording: DeskRecording
    by_model: Floats
    left_out: Mapping[str, int]
    refused: Sequence[str]
    usual_fees: int


@dataclass(frozen=True)
class SeriesBacktest:
    """One variant on one series. `notes`: what was assumed, in sentences."""

    run: BacktestRun
    report: DeskReport
    desk: DeskRun
    left_out: Mapping[str, int]
    refused: Sequence[str]
    notes: Sequence[str]

    def as_json(self, variants: int) -> dict[str, Any]:
        """The whole report as JSON values, money as text; `variants`: tried on these quotes, this one included."""
        run = {name: value for name, value in vars(self.run).items() if name != "variant"}
        found = {name: _json_value(value) for name, value in {**run, **vars(self.report)}.items()}
        return {
            **found,
            "variants": variants,
            "left_out": dict(self.left_out),
            "refused": list(self.refused),
            "notes": list(self.notes),
        }


def changed_rules(rules: DeskRules, changes: Iterable[str]) -> DeskRules:
    """Rules with changes such as "min_edge_usd=0.03"; only the rules of settings.

    Values may be outside the limits of settings. Raises SettingsError for a rule or a value that there is not.
    """
    names = [field.name for field in fields(DeskRules)]
    given: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if name not in names or not equals:
            raise SettingsError(f"--set {change}: expected RULE=VALUE, where RULE is one of {', '.join(names)}")
        given[name] = value
    try:
        return TypeAdapter(DeskRules).validate_python({**{name: getattr(rules, name) for name in names}, **given})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc'])) or 'rules'}: {one['msg']}" for one in error.errors())
        raise SettingsError(f"--set: {'; '.join(problems)}") from error


def read_backtest_inputs(
    connection: Connection,
    symbol: str,
    config: ModelConfig,
    *,
    series: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    newest: timedelta | None = None,
) -> BacktestInputs:
    """The bars of a symbol, its champion, and the recorded quotes of its markets by series.

    `series`: only this one. `since`, `until`: only markets that close in this range (aware, half-open); `newest`: only
    those that close so long before the last of their series. Raises NoDataError for markets without bars, and
    SettingsError for an empty range.
    """
    if since is not None and until is not None and until <= since:
        raise SettingsError("the range of the backtest is empty: its end is not after its start")
    found = [one for one in read_series(connection, symbol) if series in {None, one.series_ticker}]
    recorded = []
    for one in found:
        first = since if newest is None else one.last_close_at - newest
        recorded.append(_read_series(connection, symbol, one, first, until))
    history = read_market_history(connection, symbol, config) if found else None
    return BacktestInputs(symbol, champion_of(connection, symbol), history, tuple(recorded))


def replay_series(
    inputs: BacktestInputs, config: ModelConfig, log: Log = lambda _: None
) -> tuple[list[ReplayedSeries], dict[tuple[str, str], str]]:
    """The series with the model's probabilities, and why others cannot be replayed, by (exchange, series)."""
    replayed, refused = [], {}
    for one in inputs.series:
        name = f"{one.series.series_ticker} on {one.series.exchange}"
        try:
            assert inputs.history is not None
            found = _replay(inputs.symbol, one, inputs.model, inputs.history, config)
        except ValueError as error:
            refused[one.series.exchange, one.series.series_ticker] = str(error)
        else:
            replayed.append(found)
            log(f"{name}: {len(found.recording.quotes):,} quotes with the probability as it was known")
    return replayed, refused


def backtest(replayed: ReplayedSeries, rules: DeskRules, assumed: Assumptions) -> SeriesBacktest:
    """Run one variant on a series."""
    notes = _notes(replayed, rules, assumed)
    rules = replace(rules, interval_share=NOTHING, min_independent=0)
    quotes = replayed.recording.quotes
    if rules.probability is Served.POOL:
        believed = pooled_with(quotes.mids, replayed.by_model)
        notes.append("the pool of mid and model is believed at all times")
    else:
        decisions = pool_decisions(quotes, replayed.by_model, assumed.result_delay_seconds)
        believed = served_probabilities(quotes, replayed.by_model, decisions)
        served = sum(decision.served for decision in decisions.values())
        notes.append(
            f"the pool is served on {served} of {len(decisions)} days, by the events settled before each; on the "
            "others the mid, by which nothing has an edge"
        )
    desk = run_desk("backtest", rules, desk_inputs(replayed.recording, believed, assumed))
    run = BacktestRun(
        replayed.exchange,
        replayed.recording.symbol,
        replayed.recording.markets[0].series_ticker,
        replayed.settlement,
        replayed.model,
        rules_as_json(rules),
        rules_as_json(assumed),
        _variant(rules, assumed),
    )
    report = desk_report(replayed.recording, desk)
    return SeriesBacktest(run, report, desk, replayed.left_out, replayed.refused, notes)


def count_variants(connection: Connection, found: SeriesBacktest) -> int:
    """Distinct variants stored for quotes of the series that overlap with these, with this one; each by its model."""
    run, report = found.run, found.report
    stored = read_variants(connection, run.exchange, run.series_ticker, report.first_at, report.last_at)
    return len(stored | {(run.model, run.variant)})


def store_backtest(connection: Connection, found: SeriesBacktest, run_id: str | None = None) -> int:
    """Store a backtest, and return its number; needs a transaction."""
    variants = count_variants(connection, found)
    return write_backtest(connection, found.run, found.report, found.as_json(variants), variants, run_id)


def check_backtests(found: Sequence[SeriesBacktest]) -> list[CheckResult]:
    """Checks of finished backtests: every trade has ended, and the book of each run balances and agrees with trades."""
    reports = [one.report for one in found]
    unsettled = sum(report.unsettled for report in reports)
    wrong = [
        one.run.series_ticker
        for one in found
        if one.report.imbalance_usd
        or one.report.gain_usd != sum((trade.gain_usd for trade in one.desk.trades), NOTHING)
    ]
    return [
        CheckResult("every_trade_has_ended", unsettled, sum(report.signalled for report in reports)),
        CheckResult("books_balance", len(wrong), len(found), ", ".join(wrong)),
    ]


def rules_as_json(rules: DeskRules | Assumptions) -> dict[str, Any]:
    """Rules or assumptions as JSON values, equal ones as equal text."""
    return {
        name: f"{value.normalize():f}" if isinstance(value, Decimal) else value for name, value in vars(rules).items()
    }


def _json_value(value: object) -> Any:
    """Money as text, times in ISO format, intervals as pairs."""
    if isinstance(value, Estimate | DeskResult):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(_json_value(key)): _json_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(each) for each in value]
    if isinstance(value, Interval):
        return [value.low, value.high]
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else value


def _variant(rules: DeskRules, assumed: Assumptions) -> str:
    content = json.dumps([rules_as_json(rules), rules_as_json(assumed)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _notes(replayed: ReplayedSeries, rules: DeskRules, assumed: Assumptions) -> list[str]:
    notes = [
        f"each quote shows {assumed.shown_contracts} contracts: candles have no sizes",
        "an order meets the quotes of the next minute at the earliest, first in the queue and without an impact",
        f"results are known {assumed.result_delay_seconds} s after the close",
    ]
    gates = f"interval_share {rules.interval_share:f} and min_independent {rules.min_independent}"
    notes.append(f"past fits have no intervals: the gates of {gates} are open")
    if replayed.usual_fees:
        notes.append(
            f"{replayed.usual_fees:,} events without stored fee terms have the usual ones: {USUAL_FEES.fee_type}, "
            f"multiplier {USUAL_FEES.multiplier}"
        )
    return notes


def _replay(
    symbol: str, one: SeriesRecording, model: str, history: MarketHistory, config: ModelConfig
) -> ReplayedSeries:
    """Raises ValueError when the series cannot be replayed."""
    series = one.series
    if len(series.settlements) > 1:
        raise ValueError(f"its markets settle on {' and '.join(series.settlements)}, expected one rule")
    if not one.markets.markets:
        first, last = series.first_close_at, series.last_close_at
        raise ValueError(f"no market closes in the range; they close from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    quotes, rule = one.quotes.with_bars(history), SettlementRule(series.settlements[0])
    left_out = {**one.markets.left_out, "quotes without a bar at their minute": len(one.quotes) - len(quotes)}
    left_out = {reason: count for reason, count in left_out.items() if count}
    refused = [*one.markets.settled.refused, *one.refused]
    if not len(quotes):
        counts = [f"{count:,} {reason}" for reason, count in left_out.items()]
        raise ValueError("; ".join(["it has no quotes to show to the desk", *counts, *refused]))
    try:
        by_model = model_probabilities(history, quotes, rule, model_named(model), config)
    except ValueError as error:
        raise ValueError(f"the bars before its first quote are not enough: {error}") from error
    terms, usual_fees = _fee_terms(one)
    recording = DeskRecording(symbol, one.markets.markets, quotes, terms)
    return ReplayedSeries(series.exchange, rule, model, recording, by_model, left_out, refused, usual_fees)


def _fee_terms(one: SeriesRecording) -> tuple[dict[str, FeeTerms], int]:
    """The terms of each event at its close, and how many events have none stored."""
    found, usual = {}, 0
    for event, closes_at in {market.event_ticker: market.closes_at for market in one.markets.markets}.items():
        schedule = one.fees.get(event) or one.fees[OF_SERIES]
        try:
            found[event] = schedule.terms_at(closes_at)
        except ValueError:
            found[event] = USUAL_FEES
            usual += 1
    return found, usual


def _read_series(
    connection: Connection, symbol: str, series: StoredSeries, since: datetime | None, until: datetime | None
) -> SeriesRecording:
    stored, candles = read_recording(connection, symbol, series, since, until)
    markets = DeskMarkets(stored.markets)
    quotes = DeskQuotes.joined([markets.quotes(month) for month in candles])
    fees = read_fee_schedules(connection, series.exchange, series.series_ticker)
    return SeriesRecording(series, markets, quotes, fees, stored.refused)
