"""The lookups of generations, and the pointers that publish them."""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np

from assets.checks import LOOKUP, LOOKUP_READ_SLO_MS, STANDARDISED_LOOKUP, results, warn
from assets.describe import AUTOMATION, OWNERS, table_metadata
from assets.fingerprints import fingerprint
from assets.volatility import standardised_fingerprint
from pipelines.domain.models.invariants import CheckResult, merged
from pipelines.domain.models.lookup import build_lookup_block
from pipelines.resources import SYMBOLS, Strikecast
from pipelines.storage.models.generations import (
    generation_to_fill,
    judge,
    latest_built_generation,
    publish,
    read_version,
)
from pipelines.storage.models.tables import read_fingerprints, time_reads, verify_lookup, write_lookup

#: Models made of moves, and models made of standardised moves.
BY_MOVE = ("momentum", "climatology")
BY_STANDARDISED_MOVE = ("standardised", "student_t", "normal")
TIMED_READS = 200


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[fingerprint],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    check_specs=LOOKUP,
    code_version="1",
    automation_condition=AUTOMATION,
    pool="lookup",
)
def lookup(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """prob_within for every TTC (0..3600 s, step 5), move (0..200 bps, step 1) and bucket: 8,840,181 cells."""
    return _fill(context, strikecast, "lookup", BY_MOVE)


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[standardised_fingerprint],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    check_specs=STANDARDISED_LOOKUP,
    code_version="1",
    automation_condition=AUTOMATION,
    pool="standardised_lookup",
)
def standardised_lookup(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """prob_within for every whole minute, standardised move (asinh(2 z) from 0 to 7, step 0.05) and momentum group."""
    return _fill(context, strikecast, "standardised_lookup", BY_STANDARDISED_MOVE)


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[lookup],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    automation_condition=AUTOMATION,
)
def active_generation(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """The generation that readers see. Publishing is a one-row UPDATE; `strikecast rollback` goes back the same way."""
    return _publish(context, strikecast, BY_MOVE)


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[standardised_lookup],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    automation_condition=AUTOMATION,
)
def active_standardised_generation(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """The generations of the standardised model and its relatives that readers see."""
    return _publish(context, strikecast, BY_STANDARDISED_MOVE)


def _fill(
    context: dg.AssetExecutionContext, strikecast: Strikecast, asset: str, models: Sequence[str]
) -> dg.MaterializeResult:
    """Build, store and check the lookup of each model's newest generation."""
    symbol = context.partition_key
    started = time.perf_counter()
    reports, generations, version_numbers, seconds = [], [], [], []
    checks: list[CheckResult] = []
    for model in models:
        with strikecast.pipeline(asset) as connection:
            generation = generation_to_fill(connection, symbol, context.run.run_id, model)
            version = read_version(connection, generation)
            axes = version.axes
            tables = read_fingerprints(connection, version)
            blocks = (build_lookup_block(tables, bucket, axes) for bucket in axes.buckets)
            reports.append(write_lookup(connection, generation, blocks, axes))
        with strikecast.pipeline(f"{asset} checks") as connection:
            checked = verify_lookup(connection, generation, tables, axes)
            seconds += time_reads(connection, version, TIMED_READS)
            judge(connection, generation, complete=all(check.holds for check in checked))
            table = table_metadata(connection, "analytics.lookup", sum(report.rows for report in reports))
        checks += checked
        version_numbers.append(generation)
        generations.append(f"{model} {generation}")
    p95_ms = float(np.percentile(seconds, 95)) * 1000
    metadata: dict[str, Any] = {
        **table,
        "generation": version_numbers[0],
        "generations": ", ".join(generations),
        "cells": reports[0].cells,
        "cells_of_all_models": sum(report.cells for report in reports),
        "bytes_on_disk": sum(report.bytes_on_disk for report in reports),
        "sha256": reports[0].sha256,
        "read_p95_ms": round(p95_ms, 3),
        "build_seconds": round(time.perf_counter() - started, 3),
    }
    timing: dict[str, float | str] = {"p95_ms": round(p95_ms, 3), "reads": float(len(seconds))}
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            *results(merged(checks), asset),
            warn(asset, "read_p95", p95_ms < LOOKUP_READ_SLO_MS, timing),
        ],
    )


def _publish(context: dg.AssetExecutionContext, strikecast: Strikecast, models: Sequence[str]) -> dg.MaterializeResult:
    """Publish the newest generation of each model in one transaction."""
    symbol = context.partition_key
    with strikecast.pipeline("publish") as connection:
        versions = [publish(connection, latest_built_generation(connection, symbol, model)) for model in models]
        table = table_metadata(connection, "analytics.active_generation", len(versions))
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
