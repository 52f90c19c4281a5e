"""Scores: models evaluated on data that they had not seen, and live answers compared with outcomes."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from assets.common import chart_metadata, report_metadata, symbol_asset, table_metadata, warning_result
from pipelines.domain.evaluation.edge import Dimension, Forecaster
from pipelines.domain.evaluation.promotion import band_errors, evaluate_challenger
from pipelines.domain.evaluation.score_report import WALK_FORWARD_RULE, ScoreRow, merged_tallies
from pipelines.domain.evaluation.scoring import brier_difference
from pipelines.domain.prices.history import MarketHistory
from pipelines.evaluation.calibration_report import write_report
from pipelines.evaluation.charts import edge_by_ttc, edge_over_events, edge_reliability
from pipelines.evaluation.edge_runs import EdgeReport, read_edge_inputs, score_edge, store_edge
from pipelines.evaluation.live_scores import score_live_days
from pipelines.evaluation.score_runs import DEFAULT_MODELS, ScoreReport, score_symbol
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table
from pipelines.storage.evaluation.scores import WALK_FORWARD, previous_skills, write_scores
from pipelines.storage.models.champions import change_champion, read_champion
from pipelines.storage.models.generations import active_generation as published_generation
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import read_market_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A champion that is off by more in any volatility band is reported.
MOST_BAND_ERROR_POINTS = 3.0
#: Largest drop in skill against the run of a month ago.
MOST_DRIFT = 0.01
DRIFT_AGE = timedelta(days=28)
BENCHMARK_MODEL = "momentum"


def recheck_scores(symbol: str, settings: SettingsResource, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Score again by the newest bars, and store nothing."""
    history, champion, earlier = _inputs(symbol, settings, database)
    report = score_symbol(history, symbol, [*DEFAULT_MODELS, champion], settings.values.model)
    return _checks(report, champion, earlier)


def _inputs(
    symbol: str, settings: SettingsResource, database: DatabaseResource
) -> tuple[MarketHistory, str, dict[str, float]]:
    """The stored history, the champion, and the skill of each model a month ago."""

    def inputs(connection: Connection) -> tuple[MarketHistory, str, dict[str, float]]:
        history = read_market_history(connection, symbol, settings.values.model)
        champion = read_champion(connection, symbol).champion
        return history, champion, previous_skills(connection, symbol, WALK_FORWARD, DRIFT_AGE)

    return database.read("calibration", inputs)


def _pooled(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """The scores over all cases of a model and a settlement rule."""
    return [row for row in rows if row.dimension == "all"]


@symbol_asset(
    "numpy",
    "html",
    table="analytics.score",
    deps=["price_history", "volatility"],
    warns={
        "no_band_is_off": "In no tenth of hours by volatility the champion is off by more than 3 points (|move| >= "
        "0.5 % in 60 minutes).",
        "better_than_momentum": "The champion's Brier score is better than momentum's, with the whole 95 % interval "
        "over weeks.",
        "no_drift": "The champion's skill is at most a point lower than in the run of a month ago.",
    },
    recheck=recheck_scores,
    pool="calibration",
)
def calibration(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Walk-forward scores of every model over the newest year: analytics.score, and a report with charts."""
    symbol, now, model = context.partition_key, datetime.now(UTC), settings.values.model
    history, champion, earlier = _inputs(symbol, settings, database)
    report = score_symbol(history, symbol, [*DEFAULT_MODELS, champion], model, log=context.log.info)
    with database.transaction("calibration") as connection:
        number = write_scores(
            connection, symbol, WALK_FORWARD, report.span, report.plan_as_json(), report.rows, context.run.run_id
        )
        table = table_metadata(len(report.rows))
    pooled = _pooled(report.rows)
    page = write_report(report, settings.values.reports_dir, now)
    [written] = report_metadata(context, [page], settings, database)
    return dg.MaterializeResult(
        metadata={
            **table,
            "score_run": number,
            "report": written,
            "champion": champion,
            "settlement": f"{WALK_FORWARD_RULE}: one-minute bars do not give the mean of a minute",
            "scores": _score_table({"{:%Y-%m-%d} to {:%Y-%m-%d}".format(*report.span): pooled}),
            **_plotted(pooled),
        },
        check_results=_checks(report, champion, earlier),
    )


def _checks(report: ScoreReport, champion: str, earlier: dict[str, float]) -> list[dg.AssetCheckResult]:
    tallies = merged_tallies(report.folds)
    errors = band_errors(tallies[champion])
    worst = max(errors, key=lambda band: abs(errors[band]))
    difference = brier_difference(tallies[champion], tallies[BENCHMARK_MODEL])
    skill = next(row.skill for row in _pooled(report.rows) if row.model == champion)
    before = earlier.get(champion)
    drift = None if skill is None or before is None else skill - before
    return [
        warning_result(
            "no_band_is_off",
            abs(errors[worst]) <= MOST_BAND_ERROR_POINTS,
            {"champion": champion, "worst_band": str(worst), "off_by_points": round(errors[worst], 3)},
        ),
        warning_result(
            "better_than_momentum",
            champion == BENCHMARK_MODEL or difference.high < 0.0,
            {"brier_difference": difference.estimate, "low": difference.low, "high": difference.high},
        ),
        warning_result(
            "no_drift",
            drift is None or drift >= -MOST_DRIFT,
            {"skill_change": "no run of a month ago" if drift is None else round(drift, 5)},
        ),
    ]


@symbol_asset("numpy", table="analytics.score", deps=["answer", "price_log"], pool="live_calibration")
def live_calibration(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
    """Sampled live answers compared with outcomes by their settlement rule, each day once: analytics.score, live."""
    with database.transaction("live_calibration") as connection:
        scores = score_live_days(connection, context.partition_key, datetime.now(UTC), context.run.run_id)
        table = table_metadata(len(scores.rows))
    newest = _pooled(scores.days[max(scores.days)]) if scores.days else []
    return dg.MaterializeResult(
        metadata={
            **table,
            "answers_settled": scores.settled,
            "days_scored": len(scores.days),
            "answers_replayed": scores.replayed,
            "answers_unsettled": scores.unsettled,
            "left_out": f"{scores.replayed} answers to replayed prices, which are no out-of-sample outcomes; "
            f"{scores.unsettled} without all prices of their market's last minute",
            "scores": _score_table({f"{day:%Y-%m-%d}": _pooled(rows) for day, rows in scores.days.items()}),
            **_plotted(newest, by_rule=True),
        }
    )


@symbol_asset(
    "numpy",
    "matplotlib",
    table="analytics.edge_score",
    deps=["price_history", "market", "market_candle"],
    pool="calibration",
)
def edge_score(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Mid, model, pool and climatology on the quotes of settled markets; they decide whether the pool is served."""
    model = settings.values.model
    inputs = database.read("edge", lambda connection: read_edge_inputs(connection, context.partition_key, model))
    report = score_edge(inputs, model, context.log.info)
    with database.transaction("edge") as connection:
        store_edge(connection, report, context.run.run_id)
        table = table_metadata(sum(len(one.scores) for one in report.series))
    return dg.MaterializeResult(
        metadata={
            **table,
            "scores": _edge_table(report),
            "served": markdown_table(("series", "exchange", "served", "reason"), _edge_decisions(report)),
            "left_out": markdown_table(("series", "exchange", "what", "number"), _edge_left_out(report)),
            **chart_metadata(context, _edge_charts(report), settings, database, report.symbol),
            **_plotted_edge(report),
        }
    )


class Challenge(dg.Config):
    """The model that challenges the champion."""

    model: str


@symbol_asset(
    table="analytics.champion_change",
    deps=["price_history", "volatility", "calibration", "active_generation", "active_standardised_generation"],
    pool="calibration",
)
def champion_change(
    context: dg.AssetExecutionContext, config: Challenge, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """The model that answers for a symbol. A challenger must win on data that neither had seen, or this fails."""
    symbol, model = context.partition_key, settings.values.model
    with database.transaction("promotion") as connection:
        champion = read_champion(connection, symbol).champion
        published_generation(connection, symbol, config.model)
        history = read_market_history(connection, symbol, model)
    if config.model == champion:
        raise dg.Failure(f"{config.model} is the champion of {symbol} already")
    report = score_symbol(history, symbol, [champion, config.model], model, log=context.log.info)
    tallies = merged_tallies(report.folds)
    decision = evaluate_challenger(tallies[config.model], tallies[champion])
    reason, evidence = "; ".join(decision.reasons), dg.MetadataValue.json(decision.evidence)
    if not decision.promote:
        raise dg.Failure(
            f"{config.model} is not promoted over {champion} for {symbol}: {reason}",
            metadata={"evidence": evidence},
            allow_retries=False,
        )
    with database.transaction("promotion") as connection:
        change_champion(connection, symbol, config.model, champion, reason, decision.evidence, context.run.run_id)
        table = table_metadata(1)
    return dg.MaterializeResult(
        metadata={**table, "champion": config.model, "challenger": champion, "reason": reason, "evidence": evidence}
    )


def _plotted(rows: Iterable[ScoreRow], *, by_rule: bool = False) -> dict[str, float]:
    """Brier score and skill of each model as numbers, which the UI plots over time; `by_rule`: of each rule too."""
    values = {}
    for row in rows:
        name = f"{row.model}_{row.settlement}" if by_rule else row.model
        values[f"brier_{name}"] = row.brier
        values[f"skill_pct_{name}"] = None if row.skill is None else 100 * row.skill
    return {name: round(value, 5) for name, value in values.items() if value is not None}


def _score_table(spans: Mapping[str, Iterable[ScoreRow]]) -> dg.MarkdownMetadataValue:
    """Pooled scores by the range of time that was scored."""
    header = (
        "scored",
        "model",
        "settlement",
        "cases",
        "Brier",
        "skill over climatology",
        "mean probability",
        "observed frequency",
    )
    lines = []
    for span, rows in spans.items():
        for row in rows:
            skill = ""
            if row.skill is not None and row.skill_low is not None and row.skill_high is not None:
                skill = f"{100 * row.skill:.2f} % ({100 * row.skill_low:.2f} .. {100 * row.skill_high:.2f})"
            shares = (f"{100 * share:.2f} %" for share in (row.mean_probability, row.observed_frequency))
            lines.append((span, row.model, str(row.settlement), row.n, f"{row.brier:.5f}", skill, *shares))
    return markdown_table(header, lines)


def _edge_table(report: EdgeReport) -> dg.MarkdownMetadataValue:
    """Scores over all quotes, with differences to the mid and their intervals by event and by day."""
    header = ("series", "exchange", "quotes", "events", "days", "forecaster", "Brier", "log loss")
    differences = ("Brier minus the mid", "by event", "by day")
    lines = []
    for one in report.series:
        for score in one.scores:
            if score.dimension is Dimension.ALL:
                difference = score.brier_difference
                ends = (
                    "none" if interval is None else f"{interval.low:+.4f} .. {interval.high:+.4f}"
                    for interval in (difference.by_event, difference.by_day)
                )
                named = (one.run.series_ticker, one.run.exchange, score.quotes, score.events, score.days)
                values = (f"{score.brier.value:.4f}", f"{score.log_loss.value:.4f}", f"{difference.value:+.4f}")
                lines.append((*named, str(score.forecaster), *values, *ends))
    return markdown_table((*header, *differences), lines)


def _edge_decisions(report: EdgeReport) -> Iterator[tuple[str, str, str, str]]:
    """What is served for each series, and why; and why a series is not scored."""
    for one in report.series:
        yield one.run.series_ticker, one.run.exchange, one.decision.name, one.decision.reason
    for (exchange, series), why in report.not_scored.items():
        yield series, exchange, "as before", f"not scored: {why}"


def _edge_left_out(report: EdgeReport) -> Iterator[tuple[str, str, str, int]]:
    """Quotes and markets that do not count, and events that were refused."""
    for one in report.series:
        for what, number in one.run.left_out.items():
            yield one.run.series_ticker, one.run.exchange, what, number
        for refused in one.run.refused:
            yield one.run.series_ticker, one.run.exchange, f"refused: {refused}", 1


def _edge_charts(report: EdgeReport) -> dict[str, "Figure"]:
    charts = {}
    for one in report.series:
        series = one.run.series_ticker
        name, title = f"edge_{one.run.exchange}_{series.lower()}", f"{series} on {one.run.exchange}"
        charts[f"{name}_reliability"] = edge_reliability(one.forecasts, title)
        charts[f"{name}_by_ttc"] = edge_by_ttc(one.scores, title)
        charts[f"{name}_over_events"] = edge_over_events(one.forecasts, title)
    return charts


def _plotted_edge(report: EdgeReport) -> dict[str, float]:
    """Brier differences to the mid as numbers, which the UI plots over time."""
    return {
        f"brier_{score.forecaster}_minus_mid_{one.run.exchange}_{one.run.series_ticker}": round(
            score.brier_difference.value, 5
        )
        for one in report.series
        for score in one.scores
        if score.dimension is Dimension.ALL and score.forecaster is not Forecaster.MID
    }
