"""How right the probabilities are: models scored on what they had not seen, and live answers on what happened."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.checks import CALIBRATION, warn
from assets.describe import OWNERS, table_metadata
from assets.lookups import active_generation, active_standardised_generation
from assets.plots import inline
from assets.prices import price_history
from assets.volatility import volatility
from pipelines.domain.evaluation.promotion import band_errors, evaluate_challenger
from pipelines.domain.evaluation.score_report import ScoreRow, live_rows, merged_tallies
from pipelines.domain.evaluation.scoring import brier_difference
from pipelines.evaluation.calibration_report import COMPARED, write_report
from pipelines.evaluation.charts import predicted_and_observed, reliability_by_band, skill_by_quarter, skill_by_ttc
from pipelines.evaluation.score_runs import DEFAULT_MODELS, ScoreReport, read_history, score_symbol
from pipelines.resources import SYMBOLS, Strikecast
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
#: Skill may fall by so much against the run of a month ago.
MOST_DRIFT = 0.01
DRIFT_AGE = timedelta(days=28)
YARDSTICK = "momentum"


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[price_history, volatility],
    group_name="scores",
    owners=OWNERS,
    kinds={"postgres", "numpy", "html"},
    check_specs=CALIBRATION,
    code_version="1",
    pool="calibration",
)
def calibration(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """Every model fitted on what was known and scored on what came after, over the newest year: analytics.score."""
    symbol, now = context.partition_key, datetime.now(UTC)
    settings = strikecast.settings()
    with strikecast.pipeline("calibration") as connection:
        history = read_history(connection, symbol, settings.model)
        champion = read_champion(connection, symbol).champion
        earlier = previous_skills(connection, symbol, WALK_FORWARD, DRIFT_AGE)
    models = [*DEFAULT_MODELS, champion]
    report = score_symbol(history, symbol, models, settings.model, log=context.log.info)
    with strikecast.pipeline("calibration") as connection:
        number = write_scores(
            connection, symbol, WALK_FORWARD, report.span, report.plan_as_json(), report.rows, context.run.run_id
        )
        table = table_metadata(connection, "analytics.score", len(report.rows))
    path = write_report(report, settings.reports_dir, now)
    shown = [model for model in DEFAULT_MODELS if model != "climatology"]
    pooled = {row.model: row for row in report.rows if row.dimension == "all"}
    return dg.MaterializeResult(
        metadata={
            **table,
            "score_run": number,
            "report": dg.MetadataValue.path(str(path)),
            "champion": champion,
            "scores": dg.MetadataValue.md(_table(list(pooled.values()))),
            "reliability_by_volatility_band": inline(reliability_by_band(report.rows, COMPARED), "Reliability by band"),
            "predicted_and_observed": inline(
                predicted_and_observed(report.rows, COMPARED), "Predicted and observed by band"
            ),
            "skill_by_ttc": inline(skill_by_ttc(report.rows, shown), "Skill by time to close"),
            "skill_by_quarter": inline(skill_by_quarter(report.rows, shown), "Skill over time"),
        },
        check_results=_checks(report, champion, pooled, earlier),
    )


def _checks(
    report: ScoreReport, champion: str, pooled: dict[str, ScoreRow], earlier: dict[str, float]
) -> list[dg.AssetCheckResult]:
    tallies = merged_tallies(report.folds)
    errors = band_errors(tallies[champion])
    worst = max(errors, key=lambda band: abs(errors[band]))
    difference = brier_difference(tallies[champion], tallies[YARDSTICK])
    skill, before = pooled[champion].skill, earlier.get(champion)
    drift = None if skill is None or before is None else skill - before
    return [
        warn(
            "calibration",
            "no_band_is_off",
            abs(errors[worst]) <= MOST_BAND_ERROR_POINTS,
            {"champion": champion, "worst_band": str(worst), "off_by_points": round(errors[worst], 3)},
        ),
        warn(
            "calibration",
            "better_than_momentum",
            champion == YARDSTICK or difference.high < 0.0,
            {"brier_difference": difference.estimate, "low": difference.low, "high": difference.high},
        ),
        warn(
            "calibration",
            "no_drift",
            drift is None or drift >= -MOST_DRIFT,
            {"skill_change": "no run of a month ago" if drift is None else round(drift, 5)},
        ),
    ]


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[dg.AssetKey("answer")],
    group_name="scores",
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    code_version="1",
    pool="live_calibration",
)
def live_calibration(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """Yesterday's sampled live answers against what happened: analytics.score, origin live."""
    symbol = context.partition_key
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start, stop = today - timedelta(days=1), today
    with strikecast.pipeline("live_calibration") as connection:
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
        metadata={**table, "answers_settled": settled, "scores": dg.MetadataValue.md(_table(pooled))}
    )


class Challenge(dg.Config):
    """Who challenges the champion."""

    model: str


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[calibration, active_generation, active_standardised_generation],
    group_name="scores",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    pool="calibration",
)
def champion_change(
    context: dg.AssetExecutionContext, config: Challenge, strikecast: Strikecast
) -> dg.MaterializeResult:
    """Who answers for a symbol. A challenger is promoted only by outcomes that neither had seen; otherwise it fails."""
    symbol, model = context.partition_key, strikecast.settings().model
    with strikecast.pipeline("promotion") as connection:
        champion = read_champion(connection, symbol).champion
        published_generation(connection, symbol, config.model)
        history = read_history(connection, symbol, model)
    if config.model == champion:
        raise dg.Failure(f"{config.model} is the champion of {symbol} already")
    report = score_symbol(history, symbol, [champion, config.model], model, log=context.log.info)
    tallies = merged_tallies(report.folds)
    decision = evaluate_challenger(tallies[config.model], tallies[champion])
    reason = "; ".join(decision.reasons)
    if not decision.promote:
        raise dg.Failure(
            f"{config.model} is not promoted over {champion} for {symbol}: {reason}",
            metadata={"evidence": dg.MetadataValue.json(decision.evidence)},
            allow_retries=False,
        )
    with strikecast.pipeline("promotion") as connection:
        change_champion(connection, symbol, config.model, champion, reason, decision.evidence, context.run.run_id)
        table = table_metadata(connection, "analytics.champion_change", 1)
    return dg.MaterializeResult(
        metadata={
            **table,
            "champion": config.model,
            "challenger": champion,
            "reason": reason,
            "evidence": dg.MetadataValue.json(decision.evidence),
        }
    )


def _table(rows: Sequence[ScoreRow]) -> str:
    """Pooled scores as Markdown."""
    lines = ["| model | cases | Brier | skill over climatology | shown | happened |", "|---|---:|---:|---|---:|---:|"]
    for row in rows:
        skill = (
            ""
            if row.skill is None or row.skill_low is None or row.skill_high is None
            else (f"{100 * row.skill:.2f} % ({100 * row.skill_low:.2f} .. {100 * row.skill_high:.2f})")
        )
        lines.append(
            f"| {row.model} | {row.n:,} | {row.brier:.5f} | {skill} | {100 * row.mean_probability:.2f} % "
            f"| {100 * row.observed_frequency:.2f} % |"
        )
    return "\n".join(lines)
