"""Scores: models evaluated on data that they had not seen, and live answers compared with outcomes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.common import table_metadata, warning, warning_result
from pipelines.domain.evaluation.promotion import band_errors, evaluate_challenger
from pipelines.domain.evaluation.score_report import ScoreRow, live_rows, merged_tallies
from pipelines.domain.evaluation.scoring import brier_difference
from pipelines.evaluation.calibration_report import write_report
from pipelines.evaluation.score_runs import DEFAULT_MODELS, ScoreReport, read_history, score_symbol
from pipelines.resources import SYMBOLS, DatabaseResource, SettingsResource
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

#: A champion that is off by more in any volatility band is reported.
MOST_BAND_ERROR_POINTS = 3.0
#: Largest drop in skill against the run of a month ago.
MOST_DRIFT = 0.01
DRIFT_AGE = timedelta(days=28)
BENCHMARK_MODEL = "momentum"


@dg.asset(
    partitions_def=SYMBOLS,
    deps=["price_history", "volatility"],
    kinds={"postgres", "numpy", "html"},
    check_specs=[
        warning(
            "calibration",
            "no_band_is_off",
            "In no tenth of hours by volatility the champion is off by more than 3 points (|move| >= 0.5 % in 60 "
            "minutes).",
        ),
        warning(
            "calibration",
            "better_than_momentum",
            "The champion's Brier score is better than momentum's, with the whole 95 % interval over weeks.",
        ),
        warning(
            "calibration", "no_drift", "The champion's skill is at most a point lower than in the run of a month ago."
        ),
    ],
    code_version="1",
    pool="calibration",
)
def calibration(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Walk-forward scores of every model over the newest year: analytics.score, and a report with charts."""
    symbol, now, model = context.partition_key, datetime.now(UTC), settings.values.model
    with database.transaction("calibration") as connection:
        history = read_history(connection, symbol, model)
        champion = read_champion(connection, symbol).champion
        earlier = previous_skills(connection, symbol, WALK_FORWARD, DRIFT_AGE)
    report = score_symbol(history, symbol, [*DEFAULT_MODELS, champion], model, log=context.log.info)
    with database.transaction("calibration") as connection:
        number = write_scores(
            connection, symbol, WALK_FORWARD, report.span, report.plan_as_json(), report.rows, context.run.run_id
        )
        table = table_metadata(connection, "analytics.score", len(report.rows))
    pooled = {row.model: row for row in report.rows if row.dimension == "all"}
    return dg.MaterializeResult(
        metadata={
            **table,
            "score_run": number,
            "report": dg.MetadataValue.path(str(write_report(report, settings.values.reports_dir, now))),
            "champion": champion,
            "scores": dg.MetadataValue.md(_score_table(list(pooled.values()))),
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
            "calibration",
            "no_band_is_off",
            abs(errors[worst]) <= MOST_BAND_ERROR_POINTS,
            {"champion": champion, "worst_band": str(worst), "off_by_points": round(errors[worst], 3)},
        ),
        warning_result(
            "calibration",
            "better_than_momentum",
            champion == BENCHMARK_MODEL or difference.high < 0.0,
            {"brier_difference": difference.estimate, "low": difference.low, "high": difference.high},
        ),
        warning_result(
            "calibration",
            "no_drift",
            drift is None or drift >= -MOST_DRIFT,
            {"skill_change": "no run of a month ago" if drift is None else round(drift, 5)},
        ),
    ]


@dg.asset(
    partitions_def=SYMBOLS,
    deps=["answer", "price_log"],
    kinds={"postgres", "numpy"},
    code_version="1",
    pool="live_calibration",
)
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
    pooled = [row for row in rows if row.dimension == "all"]
    return dg.MaterializeResult(
        metadata={**table, "answers_settled": settled, "scores": dg.MetadataValue.md(_score_table(pooled))}
    )


class Challenge(dg.Config):
    """The model that challenges the champion."""

    model: str


@dg.asset(
    partitions_def=SYMBOLS,
    deps=["price_history", "volatility", "calibration", "active_generation", "active_standardised_generation"],
    kinds={"postgres"},
    code_version="1",
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
        history = read_history(connection, symbol, model)
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


def _score_table(rows: Sequence[ScoreRow]) -> str:
    """Pooled scores as Markdown."""
    lines = [
        "| model | cases | Brier | skill over climatology | mean probability | observed frequency |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        skill = ""
        if row.skill is not None and row.skill_low is not None and row.skill_high is not None:
            skill = f"{100 * row.skill:.2f} % ({100 * row.skill_low:.2f} .. {100 * row.skill_high:.2f})"
        lines.append(
            f"| {row.model} | {row.n:,} | {row.brier:.5f} | {skill} | {100 * row.mean_probability:.2f} % "
            f"| {100 * row.observed_frequency:.2f} % |"
        )
    return "\n".join(lines)
