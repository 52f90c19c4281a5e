"""Bars, their gaps and their momentum."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import dagster as dg
from pydantic import Field

from assets.checks import MOST_MISSING_SHARE, OLDEST_NEWEST_BAR_HOURS, PRICE_HISTORY, warn
from assets.describe import AUTOMATION, OWNERS, table_metadata
from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.invariants import find_gaps
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.ingestion.backfill import backfill_from_exchange, backfill_from_ticks
from pipelines.ingestion.ingest import ingest
from pipelines.resources import SYMBOLS, Strikecast, price_paths
from pipelines.storage.prices.history import read_closes, summarize_bars, write_gaps, write_momentum

GROUP = "historical_data"
Metadata = dict[str, int | str]

price_files = dg.AssetSpec(
    "price_files",
    description="One-minute bars as delivered: CSV, csv.gz, zip or Parquet files of any exchange.",
    group_name="sources",
    owners=OWNERS,
    kinds={"file", "csv", "parquet"},
)


class Origin(StrEnum):
    """Where new bars come from."""

    FILES = "files"
    EXCHANGE = "exchange"
    TICKS = "ticks"


class NewPrices(dg.Config):
    """Which bars to store: by default the symbol's files in the configured folder (STRIKECAST_PRICES).

    `exchange` and `ticks` store the finished minutes that are missing: as the exchange has them since `since` (ISO
    8601, UTC unless it has an offset; by default a day before the newest bar), or as other producers' ticks give them.
    """

    origin: Origin = Origin.FILES
    paths: list[str] = Field(default_factory=list)
    accept_corrections: bool = False
    since: str | None = None


class Build(dg.Config):
    """How to build; by default with the configured profile."""

    profile: Profile | None = None


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[price_files],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "duckdb"},
    check_specs=PRICE_HISTORY,
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=50), warn_window=timedelta(hours=OLDEST_NEWEST_BAR_HOURS)
    ),
    pool="price_history",
)
def price_history(context: dg.AssetExecutionContext, config: NewPrices, strikecast: Strikecast) -> dg.MaterializeResult:
    """One-minute OHLCV bars in USD, UTC. A missing minute is absent; refused rows are in `quarantined_bar`."""
    symbol = context.partition_key
    now = datetime.now(UTC)
    strikecast.settings().require_symbol(symbol)
    if config.origin is Origin.FILES:
        metadata = _from_files(context, config, strikecast, now)
    else:
        metadata = _from_elsewhere(context, config, strikecast, now)
    with strikecast.pipeline("price_history") as connection:
        bars = summarize_bars(connection, symbol)
        table = table_metadata(connection, "historical_data.price_history", bars.bars)
    if bars.first_bar_at is None or bars.last_bar_at is None:
        raise dg.Failure(f"{symbol} has no bars and no files to ingest: run `strikecast ingest {symbol} PATH`")
    minutes = (bars.last_bar_at - bars.first_bar_at) // timedelta(minutes=1) + 1
    missing = 1 - bars.bars / minutes
    age_hours = (now - bars.last_bar_at) / timedelta(hours=1)
    return dg.MaterializeResult(
        metadata={
            **table,
            **metadata,
            "first_bar": dg.MetadataValue.timestamp(bars.first_bar_at),
            "last_bar": dg.MetadataValue.timestamp(bars.last_bar_at),
        },
        check_results=[
            warn("price_history", "gap_share", missing <= MOST_MISSING_SHARE, {"missing_pct": round(missing * 100, 4)}),
            warn(
                "price_history",
                "newest_bar_age",
                age_hours <= OLDEST_NEWEST_BAR_HOURS,
                {"age_hours": round(age_hours, 2)},
            ),
        ],
    )


def _from_files(
    context: dg.AssetExecutionContext, config: NewPrices, strikecast: Strikecast, now: datetime
) -> Metadata:
    symbol = context.partition_key
    paths = [Path(path) for path in config.paths] or price_paths(strikecast.settings().prices, symbol)
    if not paths:
        return {"rows_read": 0}
    report = ingest(
        strikecast.database(),
        symbol,
        paths,
        now,
        accept_corrections=config.accept_corrections,
        log=context.log.info,
    )
    return {
        "files": ", ".join(report.files),
        "rows_read": report.rows_read,
        "inserted": report.inserted,
        "corrected": report.corrected,
        "unchanged": report.unchanged,
        "quarantined": report.quarantined,
        **{f"quarantined_{reason}": count for reason, count in report.reasons.items()},
    }


def _from_elsewhere(
    context: dg.AssetExecutionContext, config: NewPrices, strikecast: Strikecast, now: datetime
) -> Metadata:
    symbol, settings, database = context.partition_key, strikecast.settings(), strikecast.database()
    since = None if config.since is None else datetime.fromisoformat(config.since)
    if config.origin is Origin.TICKS:
        report = backfill_from_ticks(database, symbol, now, context.log.info)
    else:
        market = settings.market_of(symbol)
        report = backfill_from_exchange(database, symbol, settings.exchange, market, since, now, context.log.info)
    return {
        "origin": report.origin,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "requested_minutes": report.requested_minutes,
        "inserted": report.inserted,
        "corrected": report.corrected,
        "quarantined": report.quarantined,
        "still_missing_minutes": report.still_missing_minutes,
    }


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[price_history],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    code_version="1",
    automation_condition=AUTOMATION,
)
def price_gap(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """Runs of missing minutes between a symbol's first and last bar: the gap report."""
    symbol = context.partition_key
    with strikecast.pipeline("price_gap") as connection:
        gaps = find_gaps(read_closes(connection, symbol).minutes)
        write_gaps(connection, symbol, gaps)
        table = table_metadata(connection, "historical_data.price_gap", len(gaps))
    longest = sorted(gaps, key=lambda gap: gap.missing_minutes, reverse=True)[:10]
    rows = [
        f"| {datetime.fromtimestamp(gap.first_missing_minute * 60, UTC):%Y-%m-%d %H:%M} "
        f"| {datetime.fromtimestamp(gap.last_missing_minute * 60, UTC):%Y-%m-%d %H:%M} | {gap.missing_minutes} |"
        for gap in longest
    ]
    report = "\n".join(["| first missing (UTC) | last missing | minutes |", "|---|---|---:|", *rows])
    missing = sum(gap.missing_minutes for gap in gaps)
    return dg.MaterializeResult(
        metadata={**table, "missing_minutes": missing, "longest_gaps": dg.MetadataValue.md(report)}
    )


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[price_history],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    code_version="1",
    automation_condition=AUTOMATION,
    pool="momentum",
)
def momentum(context: dg.AssetExecutionContext, config: Build, strikecast: Strikecast) -> dg.MaterializeResult:
    """Weighted recent return of each bar in percent, and its bucket -30..30 in basis points."""
    symbol = context.partition_key
    model = strikecast.model_config_for(config.profile)
    with strikecast.pipeline("momentum") as connection:
        closes = read_closes(connection, symbol)
        scores = compute_momentum(closes, model)
        report = write_momentum(connection, symbol, closes, scores)
        table = table_metadata(connection, "historical_data.momentum", report.rows)
    return dg.MaterializeResult(
        metadata={
            **table,
            "profile": str(model.profile),
            "rows_written": report.written,
            "rows_deleted": report.deleted,
            "bars_without_score": len(closes) - report.rows,
        }
    )
