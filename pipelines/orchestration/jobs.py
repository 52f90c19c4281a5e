"""Jobs on assets, and the live session's job. Jobs without assets are in `maintenance`.

All run in one process: on two cores the start of a process per step costs more than the steps (docs/benchmarks.md).
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipelines.live.feeds.factory import feed_factory
from pipelines.live.market_factory import markets_factory
from pipelines.live.outdated import SettingsWatch
from pipelines.live.probability_writer import probabilities_path
from pipelines.live.session import LiveSession
from pipelines.live.session_recorder import SessionRecorder
from pipelines.live.strike_tables import StrikeTable
from pipelines.orchestration.queues import Queue, queued
from pipelines.orchestration.run_reaper import fail, runs_without_process
from pipelines.resources import LIVE_JOB, DatabaseResource, SettingsResource, markdown_table

#: Assets that are built from the stored bars.
BUILT_ASSETS = [
    "price_gap",
    "momentum",
    "fingerprint",
    "lookup",
    "active_generation",
    "volatility",
    "standardised_fingerprint",
    "standardised_lookup",
    "active_standardised_generation",
]
#: Assets that the exchange of markets is asked for.
MARKET_ASSETS = ["market", "market_fee", "market_candle"]

ingest_prices = dg.define_asset_job(
    "ingest_prices", "price_history", description="Read price files of one symbol into price_history."
)
build = dg.define_asset_job(
    "build",
    BUILT_ASSETS,
    description="Rebuild one symbol from its stored bars, check it, publish it.",
    tags=queued(Queue.BUILDS),
)
check_stored = dg.define_asset_job(
    "check_stored",
    dg.AssetSelection.checks_for_assets("price_history", *BUILT_ASSETS, *MARKET_ASSETS, "market_quote"),
    description="Check what is stored and published of every symbol, and change nothing.",
)
calibrate = dg.define_asset_job(
    "calibrate",
    "calibration",
    description="Score every model of one symbol on data that it had not seen, and write the report.",
    tags=queued(Queue.SCORING),
)
score_live_answers = dg.define_asset_job(
    "score_live_answers",
    "live_calibration",
    description="Score the live answers of one symbol, each complete day once.",
    tags=queued(Queue.SCORING),
)
score_edge = dg.define_asset_job(
    "score_edge",
    "edge_score",
    description="Score the model of one symbol against the quotes of its settled markets; decides about the pool.",
    tags=queued(Queue.SCORING),
)
backtest_desk = dg.define_asset_job(
    "backtest_desk",
    "desk_backtest",
    description="Run the paper desk on the newest recorded quotes of one symbol's settled markets.",
    tags=queued(Queue.SCORING),
)
promote = dg.define_asset_job(
    "promote",
    "champion_change",
    description="Make a challenger the champion of one symbol, if it wins on data that neither had seen.",
    tags=queued(Queue.SCORING),
)
backfill_markets = dg.define_asset_job(
    "backfill_markets",
    dg.AssetSelection.assets(*MARKET_ASSETS) | dg.AssetSelection.checks_for_assets("market_quote"),
    description="Fetch results, fee terms and candles of one symbol's closed markets, and check markets and quotes.",
)
_DESK_REPLAY = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("paper_desk"), "desk_replays_equal"))
report_desk = dg.define_asset_job(
    "report_desk",
    dg.AssetSelection.assets("paper_desk") - _DESK_REPLAY,
    description="Report the paper desk's account with its equity, and check its book and its positions.",
)
replay_desk = dg.define_asset_job(
    "replay_desk",
    _DESK_REPLAY,
    description="Replay the last day's journal of the paper desk, and compare the state with the saved one.",
)
archive_prices = dg.define_asset_job(
    "archive_prices", "price_archive", description="Move old months of bars into Parquet files."
)
backup_database = dg.define_asset_job(
    "backup_database",
    dg.AssetSelection.assets("backup") - dg.AssetSelection.all_asset_checks(),
    description="Dump the whole database, verify the dump, rotate older ones.",
)
restore_drill = dg.define_asset_job(
    "restore_drill",
    dg.AssetSelection.checks_for_assets("backup"),
    description="Restore the newest backup into a scratch database and compare it with what was backed up.",
)
audit_system = dg.define_asset_job(
    "audit_system", "audit", description="Measure the system, judge it, store the audit, write its report."
)


@dg.op(
    description="Refresh every symbol's probability file at least once a second, until the market closes on the hour."
)
def live_session(context: dg.OpExecutionContext, settings: SettingsResource, database: DatabaseResource) -> None:
    """Run one live session: wait for leadership, then refresh until a successor takes over on the hour."""
    output_dir = settings.values.output_dir

    def fail_dead_runs() -> None:
        """Fail the runs of sessions whose process was killed."""
        for run in runs_without_process(context.instance, database.database, datetime.now(UTC), LIVE_JOB):
            if run.run_id != context.run.run_id:
                fail(context.instance, run, "the process of this live session died; another took over")

    # Dagster writes events to its database synchronously: the event loop must not wait for that.
    events = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dagster events")

    def log(text: str) -> None:
        events.submit(context.log.info, text)

    def report_first_file(symbol: str) -> None:
        path = dg.MetadataValue.path(str(probabilities_path(output_dir, symbol)))
        description = f"first file of this session, prices by {settings.values.feed}"
        event = dg.AssetMaterialization(
            "live_probabilities", description, {"path": path, "feed": str(settings.values.feed)}, partition=symbol
        )
        events.submit(context.log_event, event)

    def report_first_table(table: StrikeTable) -> None:
        board = table.board
        description = f"first table of {board.series_ticker} of this session, markets by {board.source}"
        path, source = dg.MetadataValue.path(str(table.path)), str(board.source)
        event = dg.AssetMaterialization(
            "strike_table", description, {"path": path, "source": source}, partition=board.symbol
        )
        events.submit(context.log_event, event)

    def report_session(recorder: SessionRecorder) -> None:
        state = "so far" if recorder.ended is None else f"ended: {recorder.ended}"
        description = f"session {recorder.leadership.session} {state}, prices by {recorder.config['feed']}"
        metadata = _session_metadata(recorder)
        context.log_event(dg.AssetObservation("live_probabilities", description=description, metadata=metadata))

    with events:
        LiveSession(
            database.database,
            output_dir,
            settings.values.tiers_usd,
            feed_factory(settings.values),
            by_probability=settings.values.by_probability,
            rules=settings.values.rules,
            make_markets=markets_factory(settings.values),
            run_id=context.run.run_id,
            wait=True,
            log=log,
            is_outdated=SettingsWatch(settings.values, log).has_changed,
            on_start=fail_dead_runs,
            on_first_file=report_first_file,
            on_first_table=report_first_table,
            on_report=report_session,
        ).run()


def _session_metadata(recorder: SessionRecorder) -> dict[str, Any]:
    """Counters and latencies of a session. Dagster plots the numbers over a symbol's observations."""
    metrics = recorder.metrics
    latencies = metrics.latencies_ms()
    rows = [(stage, *(f"{value:.2f}" for value in values.values())) for stage, values in latencies.items()]
    rate = metrics.cache_hit_rate
    return {
        "session": recorder.leadership.session,
        "feed": recorder.config["feed"],
        "started": dg.MetadataValue.timestamp(recorder.leadership.started_at),
        **{name: value for name, value in metrics.counters().items() if not name.startswith("cache_")},
        "longest_gap_seconds": round(metrics.longest_gap_seconds, 3),
        **({} if rate is None else {"cache_hit_rate_pct": round(100 * rate, 2)}),
        **{f"latency_{name}_ms": value for name, value in latencies.get("total", {}).items()},
        "latency": markdown_table(("stage, ms", "p50", "p95", "p99", "max"), rows),
        "totals": dg.MetadataValue.json(recorder.totals()),
    }


@dg.job(
    name=LIVE_JOB,
    description="The live session: one run refreshes the probability files of all symbols, each second, until the "
    "market closes on the hour and the next run takes over. The sensor `live_supervisor` requests it a minute early, "
    "and whenever none is alive. Its latencies and counts are in its observations of `live_probabilities`.",
)
def live_refresh() -> None:
    """One op, one process, one asyncio loop."""
    live_session()
