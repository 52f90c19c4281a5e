"""Fingerprints: one generation per build."""

import time
from datetime import UTC, datetime

import dagster as dg
import numpy as np

from assets.checks import FINGERPRINT, results
from assets.describe import AUTOMATION, OWNERS, table_metadata
from assets.plots import baseline_heat_map, bucket_lines
from assets.prices import Build, momentum
from pipelines.domain.models.climatology import ClimatologyModel, ClimatologyRule, baseline_of
from pipelines.domain.models.fingerprint import compute_fingerprints
from pipelines.domain.models.invariants import bars_with_later_bar, check_fingerprints, check_n_adds_up
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.errors import BuildError
from pipelines.resources import SYMBOLS, Strikecast
from pipelines.storage.models.generations import judge, record_generation, span_of, start_generation
from pipelines.storage.models.tables import write_fingerprints
from pipelines.storage.prices.history import read_closes, read_momentum


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[momentum],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    check_specs=FINGERPRINT,
    code_version="1",
    automation_condition=AUTOMATION,
    pool="fingerprint",
)
def fingerprint(context: dg.AssetExecutionContext, config: Build, strikecast: Strikecast) -> dg.MaterializeResult:
    """P(the price moves by 0.00..2.00 % or more within 1..60 minutes): the baseline and 61 momentum buckets."""
    symbol = context.partition_key
    model = strikecast.model_config_for(config.profile)
    with strikecast.pipeline("fingerprint") as connection:
        closes = read_closes(connection, symbol)
        scores = read_momentum(connection, symbol, closes)
        if not np.array_equal(scores.buckets, compute_momentum(closes, model).buckets):
            raise BuildError(
                f"{symbol}: momentum is not of these bars or not of profile {model.profile}: materialize it first"
            )
        started = time.perf_counter()
        tables = compute_fingerprints(closes, scores, model)
        seconds = time.perf_counter() - started
        generation = start_generation(connection, symbol, model, closes=closes, run_id=context.run.run_id)
        rows = write_fingerprints(connection, generation, tables)
        baseline = record_generation(
            connection,
            symbol,
            ClimatologyModel.name,
            ClimatologyRule(model),
            tables.nodes,
            bars=span_of(closes),
            run_id=context.run.run_id,
        )
        write_fingerprints(connection, baseline, baseline_of(tables))
        metadata = table_metadata(connection, "analytics.fingerprint", rows)
        checks = [
            *check_fingerprints(tables, model),
            check_n_adds_up(tables, scores, closes, bars_with_later_bar(closes, model)),
        ]
        if not all(check.holds for check in checks):
            judge(connection, generation, complete=False)
            judge(connection, baseline, complete=False)
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "generation": generation,
            "profile": str(model.profile),
            "bars": len(closes),
            "first_bar": dg.MetadataValue.timestamp(datetime.fromtimestamp(int(closes.minutes[0]) * 60, UTC)),
            "last_bar": dg.MetadataValue.timestamp(datetime.fromtimestamp(int(closes.minutes[-1]) * 60, UTC)),
            "n_baseline_60_min": int(tables.n[0, -1]),
            "n_smallest_bucket_60_min": int(tables.n[1:, -1].min()),
            "n_eff_smallest_bucket_60_min": float(tables.n_eff[1:, -1].min()),
            "compute_seconds": round(seconds, 3),
            "baseline_heat_map": baseline_heat_map(tables, symbol),
            "buckets_plot": bucket_lines(tables, symbol),
        },
        check_results=results(checks, "fingerprint"),
    )
