"""Fingerprints, lookups and the published generations: one generation per build and model."""

import time
from collections.abc import Sequence

import dagster as dg
import numpy as np

from assets.common import chart_metadata, invariant_results, symbol_asset, table_metadata, warning_result, weekly_chart
from assets.historical_data import BuildConfig
from pipelines.domain.models.base import FittedModel
from pipelines.domain.models.fingerprint import compute_fingerprints
from pipelines.domain.models.invariants import (
    CheckResult,
    bars_with_later_bar,
    check_fingerprints,
    check_n_adds_up,
    check_tables,
    merge_results,
)
from pipelines.domain.models.lookup import build_lookup
from pipelines.domain.models.momentum import (
    ClimatologyModel,
    ClimatologyRule,
    MomentumModel,
    MomentumRule,
    climatology_tables,
)
from pipelines.domain.prices.bars import minute_of_instant
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.evaluation.charts import baseline_heat_map, momentum_chart, standardised_chart
from pipelines.resources import DatabaseResource, SettingsResource
from pipelines.storage.models.generations import active_generation as published_generation
from pipelines.storage.models.generations import (
    finish_generation,
    generation_for_lookup,
    latest_built_generation,
    publish,
    read_version,
    start_generation,
    summarize_closes,
)
from pipelines.storage.models.refit import update_counts
from pipelines.storage.models.tables import (
    read_fingerprints,
    time_lookup_reads,
    verify_lookup,
    write_fingerprints,
    write_lookup,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import BarSummary, read_closes, require_current_momentum, summarize_bars

#: Models of moves, and models of standardised moves.
BY_MOVE = ("momentum", "climatology")
BY_STANDARDISED_MOVE = ("standardised", "student_t", "normal")
LOOKUP_READ_SLO_MS = 10.0
#: Of all models of an asset together.
TIMED_READS = 200


def _table_checks(what: str) -> dict[str, str]:
    return {
        "cells_complete": f"Every {what} has every horizon and every node.",
        "percent_0_to_100": "Every cell is between 0 and 100, none is NaN.",
        "monotone_in_move": "A larger move is never more probable than a smaller one.",
    }


LOOKUP_CHECKS = {
    "cells_complete": "Every (TTC, bucket) has its row; a row without evidence is NULL on both sides.",
    "percent_0_to_100": "Every stored cell is between 0 and 100 %.",
    "monotone_in_move": "A strike further away is never more likely to be reached.",
    "equals_interpolation_at_nodes": "Every stored cell equals the bilinear interpolation of its fingerprint.",
}


def recheck_fingerprint(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Check the published fingerprints of the momentum model against the stored bars up to their last one."""
    with database.transaction("fingerprint checks") as connection:
        version = read_version(connection, published_generation(connection, symbol, MomentumModel.name))
        tables, closes = read_fingerprints(connection, version), read_closes(connection, symbol)
    assert isinstance(version.rule, MomentumRule)
    model = version.rule.config
    if version.last_bar_at is not None:
        closes = closes.up_to(minute_of_instant(version.last_bar_at))
    later = bars_with_later_bar(closes, model)
    scores = compute_momentum(closes, model)
    return invariant_results([*check_fingerprints(tables, model), check_n_adds_up(tables, scores, closes, later)])


@symbol_asset(
    "numpy",
    table="analytics.fingerprint",
    deps=["price_history", "momentum"],
    invariants={
        **_table_checks("bucket"),
        "n_adds_up_to_the_bars": "The buckets' n add up to the bars that have a bar t minutes later.",
    },
    recheck=recheck_fingerprint,
    pool="fingerprint",
)
def fingerprint(
    context: dg.AssetExecutionContext, config: BuildConfig, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """P(the price moves by 0.00..2.00 % or more after 1..60 minutes): the baseline and 61 momentum buckets."""
    symbol = context.partition_key
    model = settings.model_for(config.profile)
    with database.transaction("fingerprint") as connection:
        closes = read_closes(connection, symbol)
        scores = compute_momentum(closes, model)
        require_current_momentum(connection, symbol, scores, model.profile)
        started = time.perf_counter()
        tables = compute_fingerprints(closes, scores, model)
        seconds = time.perf_counter() - started
        checks = [
            *check_fingerprints(tables, model),
            check_n_adds_up(tables, scores, closes, bars_with_later_bar(closes, model)),
        ]
        end, bars = int(closes.minutes[-1]) + 1, summarize_closes(closes)
        generation, _ = [
            _store(context, connection, fitted, bars, checks)
            for fitted in (
                FittedModel(MomentumModel.name, end, tables, MomentumRule(model)),
                FittedModel(ClimatologyModel.name, end, climatology_tables(tables), ClimatologyRule(model)),
            )
        ]
        rows = len(tables.buckets) * tables.horizons
        metadata = table_metadata(rows, _fingerprint_lineage("momentum"))
    charts = {"baseline": baseline_heat_map(tables, symbol), "momentum": momentum_chart(tables, symbol)}
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "generation": generation,
            "profile": str(model.profile),
            "bars": len(closes),
            "first_bar": dg.MetadataValue.timestamp(bars.first_bar_at),
            "last_bar": dg.MetadataValue.timestamp(bars.last_bar_at),
            "n_baseline_60_min": int(tables.n[0, -1]),
            "n_smallest_bucket_60_min": int(tables.n[1:, -1].min()),
            "n_eff_smallest_bucket_60_min": float(tables.n_eff[1:, -1].min()),
            "compute_seconds": round(seconds, 3),
            **chart_metadata(context, charts, settings, database, symbol),
        },
        check_results=invariant_results(checks),
    )


def _store(
    context: dg.AssetExecutionContext,
    connection: Connection,
    fitted: FittedModel,
    bars: BarSummary,
    checks: Sequence[CheckResult],
    borrowed_from: str | None = None,
) -> int:
    """Store the tables of a fitted model as a new generation, rejected when a check failed; return its number."""
    generation = start_generation(
        connection,
        context.partition_key,
        fitted.name,
        fitted.rule,
        fitted.tables.nodes,
        bars=bars,
        borrowed_from=borrowed_from,
        run_id=context.run.run_id,
    )
    write_fingerprints(connection, generation, fitted.tables)
    if not all(check.passed for check in checks):
        finish_generation(connection, generation, complete=False)
    return generation


def _fingerprint_lineage(bucket_of: str) -> dict[str, list[tuple[str, str]]]:
    sources = [
        ("price_history", "close"),
        (bucket_of, "momentum_bucket" if bucket_of == "momentum" else "variance_10_min"),
    ]
    return {"positive": sources, "negative": sources}


def recheck_standardised_fingerprint(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Check the published tables of the standardised model and its relatives."""
    found = []
    with database.transaction("standardised_fingerprint checks") as connection:
        for model in BY_STANDARDISED_MOVE:
            generation = published_generation(connection, symbol, model)
            found += check_tables(read_fingerprints(connection, read_version(connection, generation)))
    return invariant_results(merge_results(found))


@symbol_asset(
    "numpy",
    table="analytics.fingerprint",
    deps=["price_history", "volatility"],
    invariants=_table_checks("group"),
    recheck=recheck_standardised_fingerprint,
    pool="standardised_fingerprint",
)
def standardised_fingerprint(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """P(the move is at least so many sigmas after 1..60 minutes) by momentum group, with its parametric relatives."""
    symbol = context.partition_key
    with database.transaction("standardised_fingerprint") as connection:
        update = update_counts(connection, symbol)
        generations, checks, bars = {}, [], summarize_bars(connection, symbol)
        for fitted in update.fitted:
            found = check_tables(fitted.tables)
            generations[fitted.name] = _store(context, connection, fitted, bars, found, update.borrowed_from)
            checks += found
        rows = sum(len(fitted.tables.buckets) * fitted.tables.horizons for fitted in update.fitted)
        table = table_metadata(rows, _fingerprint_lineage("volatility"))
    tables = {fitted.name: fitted.tables for fitted in update.fitted}
    return dg.MaterializeResult(
        metadata={
            **table,
            "generations": ", ".join(f"{name} {generation}" for name, generation in generations.items()),
            **({"borrowed_from": update.borrowed_from} if update.borrowed_from else {}),
            "base_rows_counted": update.rows_counted,
            "weeks": update.weeks,
            "n_eff_60_min": float(tables["standardised"].n_eff[0, -1]),
            **weekly_chart(
                context, "standardised", lambda: standardised_chart(tables, symbol), settings, database, symbol
            ),
        },
        check_results=invariant_results(merge_results(checks)),
    )


def _lookup_asset(name: str, source: str, models: Sequence[str], description: str) -> dg.AssetsDefinition:
    lineage = {f"prob_within_{side}_hundredths": [(source, side)] for side in ("positive", "negative")}

    def recheck(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
        """Check the published lookup of each model, and time reads of it."""
        seconds: list[float] = []
        checks: list[CheckResult] = []
        for model in models:
            with database.transaction(f"{name} checks") as connection:
                version = read_version(connection, published_generation(connection, symbol, model))
                tables = read_fingerprints(connection, version)
                checks += verify_lookup(connection, version.generation, tables, version.axes)
                seconds += time_lookup_reads(connection, version, TIMED_READS // len(models))
        return [*invariant_results(merge_results(checks)), _read_check(seconds)]

    @symbol_asset(
        "numpy",
        table="analytics.lookup",
        name=name,
        description=description,
        deps=[source],
        invariants=LOOKUP_CHECKS,
        warns={"read_p95": f"95 of 100 reads of a row take under {LOOKUP_READ_SLO_MS:.0f} ms."},
        recheck=recheck,
        pool=name,
    )
    def build(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
        """Build, store and check the lookup of each model's newest generation."""
        symbol = context.partition_key
        started = time.perf_counter()
        reports, generations, seconds = [], {}, []
        checks: list[CheckResult] = []
        for model in models:
            with database.transaction(name) as connection:
                generation = generation_for_lookup(connection, symbol, context.run.run_id, model)
                version = read_version(connection, generation)
                tables = read_fingerprints(connection, version)
                blocks = build_lookup(tables, version.axes)
                reports.append(write_lookup(connection, generation, blocks, version.axes))
            with database.transaction(f"{name} checks") as connection:
                found = verify_lookup(connection, generation, tables, version.axes)
                seconds += time_lookup_reads(connection, version, TIMED_READS // len(models))
                finish_generation(connection, generation, complete=all(check.passed for check in found))
                rows = sum(report.rows for report in reports)
                table = table_metadata(rows, lineage)
            checks += found
            generations[model] = generation
        return dg.MaterializeResult(
            metadata={
                **table,
                "generation": generations[models[0]],
                "generations": ", ".join(f"{model} {generation}" for model, generation in generations.items()),
                "cells": reports[0].cells,
                "cells_of_all_models": sum(report.cells for report in reports),
                "bytes_on_disk": sum(report.bytes_on_disk for report in reports),
                "sha256": reports[0].sha256,
                "build_seconds": round(time.perf_counter() - started, 3),
            },
            check_results=[*invariant_results(merge_results(checks)), _read_check(seconds)],
        )

    return build


def _read_check(seconds: Sequence[float]) -> dg.AssetCheckResult:
    p95_ms = round(float(np.percentile(seconds, 95)) * 1000, 3)
    return warning_result("read_p95", p95_ms < LOOKUP_READ_SLO_MS, {"p95_ms": p95_ms, "reads": float(len(seconds))})


lookup = _lookup_asset(
    "lookup",
    "fingerprint",
    BY_MOVE,
    "prob_within for every TTC (0..3600 s, step 5), move (0..200 bps, step 1) and bucket: 8,840,181 cells.",
)
standardised_lookup = _lookup_asset(
    "standardised_lookup",
    "standardised_fingerprint",
    BY_STANDARDISED_MOVE,
    "prob_within for every whole minute, standardised move (asinh(2 z) from 0 to 7, step 0.05) and momentum group.",
)


def _published_asset(name: str, source: str, models: Sequence[str], description: str) -> dg.AssetsDefinition:
    @symbol_asset(table="analytics.active_generation", name=name, description=description, deps=[source])
    def publish_newest(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
        """Publish the newest generation of each model in one transaction."""
        symbol = context.partition_key
        with database.transaction("publish") as connection:
            versions = [publish(connection, latest_built_generation(connection, symbol, model)) for model in models]
            table = table_metadata(len(versions))
        return dg.MaterializeResult(
            metadata={
                **table,
                "generation": versions[0].generation,
                "generations": ", ".join(f"{version.model} {version.generation}" for version in versions),
                "profile": versions[0].profile,
                "lookup_sha256": versions[0].lookup_sha256 or "",
                "code_version": versions[0].code_version,
            }
        )

    return publish_newest


active_generation = _published_asset(
    "active_generation",
    "lookup",
    BY_MOVE,
    "The generation that readers see. Publishing is a one-row UPDATE; `strikecast rollback` goes back the same way.",
)
active_standardised_generation = _published_asset(
    "active_standardised_generation",
    "standardised_lookup",
    BY_STANDARDISED_MOVE,
    "The generations of the standardised model and its relatives that readers see.",
)
