"""Bars, their gaps, momentum and volatility."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import dagster as dg
import numpy as np
from pydantic import Field

from assets.common import symbol_asset, table_metadata, warning_result, weekly_chart
from pipelines.domain.configuration.model import Profile
from pipelines.domain.prices.bars import instant_of_minute
from pipelines.domain.prices.volatility import HALF_LIVES_MINUTES
from pipelines.errors import NoDataError
from pipelines.evaluation.charts import season_chart
from pipelines.ingestion.backfill import backfill_from_exchange, backfill_from_ticks
from pipelines.ingestion.ingest import ingest
from pipelines.resources import DatabaseResource, ExchangeResource, SettingsResource, markdown_table, price_paths
from pipelines.settings import Settings
from pipelines.storage.models.refit import update_volatility
from pipelines.storage.prices.archive import archived_months
from pipelines.storage.prices.history import BarSummary, summarize_bars
from pipelines.storage.prices.increments import update_gaps, update_momentum

#: A history with more than this share of its minutes missing is reported.
MOST_MISSING_SHARE = 0.01
#: Prices delivered daily are at most this old.
OLDEST_NEWEST_BAR_HOURS = 26
Metadata = dict[str, int | str | dg.MetadataValue]


class Origin(StrEnum):
    """Where new bars come from."""

    FILES = "files"
    EXCHANGE = "exchange"
    TICKS = "ticks"


class NewPrices(dg.Config):
    """Which bars to store: by default the symbol's files in the configured folder (STRIKECAST_PRICES).

    `exchange` and `ticks` store the finished minutes that are missing: as the exchange has them since `since` (ISO
    8601, UTC unless it has an offset; by default a day before the newest bar), or as other producers' ticks give them.
    `time_zone`: of times without an offset, such as America/New_York; `accept_symbol`: take files that name another
    symbol; `accept_corrections`: take files that contradict stored bars; `keep_archived`:
    leave archived months out, as without paths.
    """

    origin: Origin = Origin.FILES
    paths: list[str] = Field(default_factory=list)
    accept_corrections: bool = False
    accept_symbol: bool = False
    keep_archived: bool = False
    time_zone: str | None = None
    since: str | None = None


class BuildConfig(dg.Config):
    """How to build; by default with the configured profile."""

    profile: Profile | None = None


class IncrementConfig(dg.Config):
    """How to update; by default from all bars, which also repairs what was changed by hand."""

    incremental: bool = Field(default=False, description="Only from the first bar that changed since the last update.")


class MomentumConfig(BuildConfig, IncrementConfig):
    """How to build momentum; by default from all bars with the configured profile."""


def _bar_checks(bars: BarSummary, now: datetime) -> list[dg.AssetCheckResult]:
    """Checks of a symbol's stored bars; without bars there is nothing to check."""
    if bars.first_bar_at is None or bars.last_bar_at is None:
        return []
    minutes = (bars.last_bar_at - bars.first_bar_at) // timedelta(minutes=1) + 1
    missing = 1 - bars.bars / minutes
    age_hours = (now - bars.last_bar_at) / timedelta(hours=1)
    recent = age_hours <= OLDEST_NEWEST_BAR_HOURS
    return [
        warning_result("gap_share", missing <= MOST_MISSING_SHARE, {"missing_pct": round(missing * 100, 4)}),
        warning_result("newest_bar_age", recent, {"age_hours": round(age_hours, 2)}),
    ]


def recheck_bars(symbol: str, database: DatabaseResource) -> list[dg.AssetCheckResult]:
    """Check the stored bars."""
    with database.transaction("price_history checks") as connection:
        return _bar_checks(summarize_bars(connection, symbol), datetime.now(UTC))


@symbol_asset(
    "duckdb",
    table="historical_data.price_history",
    deps=["price_files", "price_log"],
    warns={
        "gap_share": f"At most {MOST_MISSING_SHARE:.0%} of the minutes since the first bar are missing.",
        "newest_bar_age": f"The newest bar is at most {OLDEST_NEWEST_BAR_HOURS} h old.",
    },
    recheck=recheck_bars,
    pool="price_history",
)
def price_history(
    context: dg.AssetExecutionContext,
    config: NewPrices,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> dg.MaterializeResult:
    """One-minute OHLCV bars in USD, UTC. A missing minute is absent; refused rows are in `quarantined_bar`."""
    symbol, now = context.partition_key, datetime.now(UTC)
    settings.values.require_symbol(symbol)
    if config.origin is Origin.FILES:
        metadata = _ingest_files(context, config, settings.values, database, now)
    else:
        metadata = _backfill(context, config, database, exchange, now)
    with database.transaction("price_history") as connection:
        bars = summarize_bars(connection, symbol)
        table = table_metadata(bars.bars)
    if bars.first_bar_at is None or bars.last_bar_at is None:
        raise dg.Failure(f"{symbol} has no bars and no files to ingest: run `strikecast ingest {symbol} PATH`")
    return dg.MaterializeResult(
        metadata={
            **table,
            **metadata,
            "first_bar": dg.MetadataValue.timestamp(bars.first_bar_at),
            "last_bar": dg.MetadataValue.timestamp(bars.last_bar_at),
        },
        check_results=_bar_checks(bars, now),
    )


def _ingest_files(
    context: dg.AssetExecutionContext, config: NewPrices, settings: Settings, database: DatabaseResource, now: datetime
) -> Metadata:
    """Ingest the named files, or those of the folder of prices, whose archived months stay in the archive."""
    symbol = context.partition_key
    paths = [Path(path) for path in config.paths] or price_paths(settings.prices, symbol)
    if not paths:
        return {"rows_read": 0}
    archived = []
    if config.keep_archived or not config.paths:
        with database.transaction("ingest") as connection:
            archived = archived_months(connection, settings.home, symbol)
    report = ingest(
        database.database,
        symbol,
        paths,
        now,
        time_zone=config.time_zone,
        accept_symbol=config.accept_symbol,
        known_symbols=list(settings.symbols),
        accept_corrections=config.accept_corrections,
        skip_minutes=archived,
        log=context.log.info,
    )
    counts = {
        name: getattr(report, name) for name in ("rows_read", "inserted", "corrected", "unchanged", "quarantined")
    }
    rare = {name: getattr(report, name) for name in ("absent", "repeated", "archived")}
    reasons = {f"quarantined_{reason}": count for reason, count in report.reasons.items()}
    understood = markdown_table(
        ("file", "format", "columns", "times", "time zone", "symbol", "bars", "first bar (UTC)", "last bar (UTC)"),
        [
            (
                *(one.name, one.format, one.columns, one.times, one.time_zone, one.symbol, one.bars),
                *(f"{at:%Y-%m-%d %H:%M}" for at in (one.first_bar, one.last_bar)),
            )
            for one in report.summaries
        ],
    )
    return {
        "files": ", ".join(report.files),
        **counts,
        **{name: count for name, count in rare.items() if count},
        **reasons,
        "understood": understood,
        **({"skipped_files": markdown_table(("file", "reason"), report.skipped)} if report.skipped else {}),
        "report": dg.MetadataValue.json(report.as_json()),
    }


def _backfill(
    context: dg.AssetExecutionContext,
    config: NewPrices,
    database: DatabaseResource,
    exchange: ExchangeResource,
    now: datetime,
) -> Metadata:
    symbol = context.partition_key
    if config.origin is Origin.TICKS:
        report = backfill_from_ticks(database.database, symbol, now, context.log.info)
    else:
        since = None if config.since is None else datetime.fromisoformat(config.since)
        market = exchange.settings.values.market_of(symbol)
        report = backfill_from_exchange(
            database.database, symbol, exchange.exchange, market, since, now, context.log.info
        )
    return {**asdict(report), "since": report.since.isoformat(), "until": report.until.isoformat()}


@symbol_asset("numpy", table="historical_data.price_gap", deps=["price_history"])
def price_gap(
    context: dg.AssetExecutionContext, config: IncrementConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Runs of missing minutes between a symbol's first and last bar: the gap report."""
    symbol = context.partition_key
    with database.transaction("price_gap") as connection:
        gaps = update_gaps(connection, symbol, incremental=config.incremental)
        table = table_metadata(len(gaps))
    longest = sorted(gaps, key=lambda gap: gap.missing_minutes, reverse=True)[:10]
    rows = [
        (*(np.datetime64(m, "m") for m in (gap.first_missing_minute, gap.last_missing_minute)), gap.missing_minutes)
        for gap in longest
    ]
    report = markdown_table(("first missing (UTC)", "last missing", "minutes"), rows)
    missing = sum(gap.missing_minutes for gap in gaps)
    return dg.MaterializeResult(metadata={**table, "missing_minutes": missing, "longest_gaps": report})


@symbol_asset("numpy", table="historical_data.momentum", deps=["price_history"], pool="momentum")
def momentum(
    context: dg.AssetExecutionContext, config: MomentumConfig, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Weighted recent return of each bar in percent, and its bucket -30..30 in basis points."""
    symbol = context.partition_key
    model = settings.model_for(config.profile)
    close = [("price_history", "close"), ("price_history", "opened_at")]
    lineage = {"momentum_score_pct": close, "momentum_bucket": close}
    with database.transaction("momentum") as connection:
        update = update_momentum(connection, symbol, model, incremental=config.incremental)
        rows = None if update.since else update.report.rows
        table = table_metadata(rows, lineage)
    since = instant_of_minute(update.since)
    return dg.MaterializeResult(
        metadata={
            **table,
            "profile": str(model.profile),
            "rows_written": update.report.written,
            "rows_deleted": update.report.deleted,
            **(
                {"updated_since": dg.MetadataValue.timestamp(since)}
                if update.since
                else {"bars_without_score": update.bars - update.report.rows}
            ),
        }
    )


#: Columns of historical_data.volatility_day by the columns of price_history that they are computed from.
VOLATILITY_COLUMNS = {
    ("close",): ("usual_return", *(f"variance_{minutes}_min" for minutes in HALF_LIVES_MINUTES)),
    ("high", "low", "close"): tuple(f"range_{minutes}_min" for minutes in HALF_LIVES_MINUTES),
}


class VolatilityConfig(dg.Config):
    """How to update; by default by the new bars, and from all bars when the last fit is four weeks old."""

    refit: bool = Field(default=False, description="Fit season, weights and momentum groups again from all bars.")


@symbol_asset(
    "numpy",
    "polars",
    table="historical_data.volatility_day",
    deps=["price_history"],
    pool="volatility",
    output_required=False,  # with too little history, models that need no volatility are built without it
)
def volatility(
    context: dg.AssetExecutionContext, config: VolatilityConfig, settings: SettingsResource, database: DatabaseResource
) -> Iterator[dg.MaterializeResult]:
    """Season and decayed variances after each minute: the state from which volatility is forecast."""
    symbol = context.partition_key
    lenders = [other for other in settings.values.symbols if other != symbol]
    lineage = {
        column: [("price_history", source) for source in sources]
        for sources, columns in VOLATILITY_COLUMNS.items()
        for column in columns
    }
    with database.transaction("volatility") as connection:
        try:
            update = update_volatility(connection, symbol, lenders, refit=config.refit)
        except NoDataError as error:
            context.log.warning(str(error))
            return
        table = table_metadata(update.days, lineage)
    season = update.parameters.volatility.season
    yield dg.MaterializeResult(
        metadata={
            **table,
            "fit": update.fit or "none was due",
            **({"borrowed_from": update.borrowed_from} if update.borrowed_from else {}),
            "parameters_id": update.parameters_id,
            "days_written": update.days_written,
            **weekly_chart(
                context,
                "season",
                lambda: season_chart(season, symbol),
                settings,
                database,
                symbol,
                redraw=update.fit is not None,
            ),
        }
    )
