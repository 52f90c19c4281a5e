"""Scores: models evaluated on data that they had not seen, and live answers compared with outcomes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.common import symbol_asset, table_metadata, warning_result
from pipelines.domain.evaluation.promotion import band_errors, evaluate_challenger
from pipelines.domain.evaluation.score_report import WALK_FORWARD_RULE, ScoreRow, merged_tallies
from pipelines.domain.evaluation.scoring import brier_difference
from pipelines.domain.prices.history import MarketHistory
from pipelines.evaluation.calibration_report import write_report
from pipelines.evaluation.live_scores import score_live_days
from pipelines.evaluation.score_runs import DEFAULT_MODELS, ScoreReport, score_symbol
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table
from pipelines.storage.evaluation.scores import WALK_FORWARD, previous_skills, write_scores
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
    return _checks(report, champion, earlier)


def _inputs(
    symbol: str, settings: SettingsResource, database: DatabaseResource
) -> tuple[MarketHistory, str, dict[str, float]]:
    """The stored history, the champion, and the skill of each model a month ago."""
    with database.transaction("calibration") as connection:
        history = read_market_history(connection, symbol, settings.values.model)
        champion = read_champion(connection, symbol).champion
        return history, champion, previous_skills(connection, symbol, WALK_FORWARD, DRIFT_AGE)


def _pooled(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """The scores over all cases of a model and a settlement rule."""
    return [row for row in rows if row.dimension == "all"]


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


@symbol_asset("numpy", deps=["answer", "price_log"], automated=False, pool="live_calibration")
def live_calibration(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
    """Sampled live answers compared with outcomes by their settlement rule, each day once: analytics.score, live."""
    with database.transaction("live_calibration") as connection:
        scores = score_live_days(connection, context.partition_key, datetime.now(UTC), context.run.run_id)
        table = table_metadata(connection, "analytics.score", len(scores.rows))
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
