"""Scores: models evaluated on data that they had not seen, and live answers compared with outcomes."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.common import symbol_asset, table_metadata, warning_result
from pipelines.domain.evaluation.promotion import band_errors, evaluate_challenger
from pipelines.domain.evaluation.score_report import ScoreRow, live_rows, merged_tallies
from pipelines.domain.evaluation.scoring import brier_difference
from pipelines.domain.prices.history import MarketHistory
from pipelines.evaluation.calibration_report import write_report
from pipelines.evaluation.score_runs import DEFAULT_MODELS, ScoreReport, score_symbol
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table
from pipelines.storage.evaluation.scores import (
    LIVE,
    WALK_FORWARD,
    previous_skills,
    settle_answers,
    settled_answers,
    write_scores,
)
from pipelines.storage.models.champions import change_champion, read_champion
from pipelines.storage.models.generations import active_generation as published_generation
from pipelines.storage.prices.history import read_market_history

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
    return _checks(report, champion, _pooled(report.rows), earlier)


def _inputs(
    symbol: str, settings: SettingsResource, database: DatabaseResource
) -> tuple[MarketHistory, str, dict[str, float]]:
    """The stored history, the champion, and the skill of each model a month ago."""
    with database.transaction("calibration") as connection:
        history = read_market_history(connection, symbol, settings.values.model)
        champion = read_champion(connection, symbol).champion
        return history, champion, previous_skills(connection, symbol, WALK_FORWARD, DRIFT_AGE)


def _pooled(rows: Iterable[ScoreRow]) -> dict[str, ScoreRow]:
    """The scores over all cases by model."""
    return {row.model: row for row in rows if row.dimension == "all"}


@symbol_asset(
    "numpy",
    "html",
    deps=["price_history", "volatility"],
    warns={
        "no_band_is_off": "In no tenth of hours by volatility the champion is off by more than 3 points (|move| >= "
        "0.5 % in 60 minutes).",
        "better_than_momentum": "The champion's Brier score is better than momentum's, with the whole 95 % interval "
        "over weeks.",
        "no_drift": "The champion's skill is at most a point lower than in the run of a month ago.",
    },
    recheck=recheck_scores,
    automated=False,
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
        table = table_metadata(connection, "analytics.score", len(report.rows))
    pooled = _pooled(report.rows)
    return dg.MaterializeResult(
        metadata={
            **table,
            "score_run": number,
            "report": dg.MetadataValue.path(str(write_report(report, settings.values.reports_dir, now))),
            "champion": champion,
            "scores": _score_table(pooled.values()),
            **_plotted(pooled.values()),
        },
        check_results=_checks(report, champion, pooled, earlier),
    )


def _checks(
    report: ScoreReport, champion: str, pooled: dict[str, ScoreRow], earlier: dict[str, float]
) -> list[dg.AssetCheckResult]:
    tallies = merged_tallies(report.folds)
    errors = band_errors(tallies[champion])
    worst = max(errors, key=lambda band: abs(errors[band]))
    difference = brier_difference(tallies[champion], tallies[BENCHMARK_MODEL])
    skill, before = pooled[champion].skill, earlier.get(champion)
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


@symbol_asset("numpy", deps=["answer", "price_log"], automated=False, pool="live_calibration")
def live_calibration(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
    """Yesterday's sampled live answers compared with outcomes: analytics.score, origin live."""
    symbol, now = context.partition_key, datetime.now(UTC)
    stop = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = stop - timedelta(days=1)
    with database.transaction("live_calibration") as connection:
        settled = settle_answers(connection, symbol, now)
        rows = [
            row
            for answers in settled_answers(connection, symbol, start, stop)
            for row in live_rows(answers.model, answers.hour, answers.probability, answers.outcomes)
        ]
        if rows:
            write_scores(connection, symbol, LIVE, (start, stop), {}, rows, context.run.run_id)
        table = table_metadata(connection, "analytics.score", len(rows))
    pooled = _pooled(rows).values()
    return dg.MaterializeResult(
        metadata={**table, "answers_settled": settled, "scores": _score_table(pooled), **_plotted(pooled)}
    )


class Challenge(dg.Config):
    """The model that challenges the champion."""

    model: str


@symbol_asset(
    deps=["price_history", "volatility", "calibration", "active_generation", "active_standardised_generation"],
    automated=False,
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
        table = table_metadata(connection, "analytics.champion_change", 1)
    return dg.MaterializeResult(
        metadata={**table, "champion": config.model, "challenger": champion, "reason": reason, "evidence": evidence}
    )


def _plotted(rows: Iterable[ScoreRow]) -> dict[str, float]:
    """Brier score and skill of each model as numbers, which the UI plots over time."""
    values = {}
    for row in rows:
        values[f"brier_{row.model}"] = row.brier
        values[f"skill_pct_{row.model}"] = None if row.skill is None else 100 * row.skill
    return {name: round(value, 5) for name, value in values.items() if value is not None}


def _score_table(rows: Iterable[ScoreRow]) -> dg.MarkdownMetadataValue:
    """Pooled scores."""
    header = ("model", "cases", "Brier", "skill over climatology", "mean probability", "observed frequency")
    lines = []
    for row in rows:
        skill = ""
        if row.skill is not None and row.skill_low is not None and row.skill_high is not None:
            skill = f"{100 * row.skill:.2f} % ({100 * row.skill_low:.2f} .. {100 * row.skill_high:.2f})"
        shares = (f"{100 * share:.2f} %" for share in (row.mean_probability, row.observed_frequency))
        lines.append((row.model, row.n, f"{row.brier:.5f}", skill, *shares))
    return markdown_table(header, lines)
