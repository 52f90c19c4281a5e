"""The lookup of a generation, and the pointer that publishes it."""

import time

import dagster as dg
import numpy as np

from assets.checks import LOOKUP, LOOKUP_READ_SLO_MS, results, warn
from assets.describe import AUTOMATION, OWNERS, table_metadata
from assets.fingerprints import fingerprint
from assets.partitions import SYMBOLS
from pipelines.domain.lookup import build_lookup_block
from pipelines.resources import Strikecast
from pipelines.storage.generations import (
    active_generation as read_active_generation,
)
from pipelines.storage.generations import (
    generation_to_fill,
    judge,
    latest_built_generation,
    publish,
    read_version,
)
from pipelines.storage.tables import read_fingerprints, time_reads, verify_lookup, write_lookup


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
    symbol = context.partition_key
    started = time.perf_counter()
    with strikecast.pipeline("lookup") as connection:
        generation = generation_to_fill(connection, symbol, context.run.run_id)
        version = read_version(connection, generation)
        axes = version.axes
        tables = read_fingerprints(connection, version)
        blocks = (build_lookup_block(tables, bucket, axes) for bucket in axes.buckets)
        report = write_lookup(connection, generation, blocks, axes)
    with strikecast.pipeline("lookup checks") as connection:
        verdicts = verify_lookup(connection, generation, tables, axes)
        p95_ms = float(np.percentile(time_reads(connection, version, reads=200), 95)) * 1000
        judge(connection, generation, complete=all(verdict.holds for verdict in verdicts))
        metadata = table_metadata(connection, "analytics.lookup", report.rows)
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "generation": generation,
            "cells": report.cells,
            "bytes_on_disk": report.bytes_on_disk,
            "sha256": report.sha256,
            "read_p95_ms": round(p95_ms, 3),
            "build_seconds": round(time.perf_counter() - started, 3),
        },
        check_results=[
            *results(verdicts, "lookup"),
            warn("lookup", "read_p95", p95_ms < LOOKUP_READ_SLO_MS, {"p95_ms": round(p95_ms, 3), "reads": 200.0}),
        ],
    )


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
    symbol = context.partition_key
    with strikecast.pipeline("publish") as connection:
        version = publish(connection, latest_built_generation(connection, symbol))
        table = table_metadata(connection, "analytics.active_generation", 1)
        generation = read_active_generation(connection, symbol)
    return dg.MaterializeResult(
        metadata={
            **table,
            "generation": generation,
            "profile": version.profile,
            "lookup_sha256": version.lookup_sha256 or "",
            "code_version": version.code_version,
        }
    )
