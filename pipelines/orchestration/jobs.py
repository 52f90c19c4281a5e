"""Jobs: what the sensor, the schedules and the command line run."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from pipelines.live.feeds.factory import feed_factory
from pipelines.live.file_writer import probabilities_path
from pipelines.live.leadership import Leadership
from pipelines.live.session import LiveSession, SessionReport
from pipelines.live.session_report import session_metadata
from pipelines.log import Log
from pipelines.orchestration.run_reaper import fail, runs_without_process
from pipelines.resources import Strikecast

LIVE_JOB = "live_refresh"


def _job(name: str, selection: dg.AssetSelection, description: str) -> UnresolvedAssetJobDefinition:
    """In process: on two cores the start of a process per step costs more than the steps (docs/benchmarks.md)."""
    return dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor, description=description)


_assets = dg.AssetSelection.assets

ingest_prices = _job("ingest_prices", _assets("price_history"), "Read price files of one symbol into price_history.")
build = _job(
    "build",
    _assets(
        "price_gap",
        "momentum",
        "fingerprint",
        "lookup",
        "active_generation",
        "volatility",
        "standardised_fingerprint",
        "standardised_lookup",
        "active_standardised_generation",
    ),
    "Rebuild one symbol from its stored bars, check it, publish it.",
)
calibrate = _job(
    "calibrate",
    _assets("calibration"),
    "Score every model of one symbol on what it had not seen, and write the report.",
)
score_live_answers = _job(
    "score_live_answers", _assets("live_calibration"), "Score yesterday's live answers of one symbol."
)
promote = _job(
    "promote",
    _assets("champion_change"),
    "Make a challenger the champion of one symbol, if outcomes that neither had seen say so.",
)

make_partitions = _job("make_partitions", _assets("day_partitions"), "Make the day partitions of the next seven days.")
vacuum_database = _job("vacuum_database", _assets("vacuum"), "Vacuum the tables that need it, the most urgent first.")
archive_prices = _job("archive_prices", _assets("price_archive"), "Move old months of bars into Parquet files.")
compress_logs = _job("compress_logs", _assets("log_files"), "Rotate, compress and delete logs.")
remove_what_is_old = _job("remove_what_is_old", _assets("retention"), "Remove what no policy keeps, in small steps.")
backup_database = _job(
    "backup_database",
    _assets("backup") - dg.AssetSelection.all_asset_checks(),
    "Dump the whole database, read the dump back, rotate older ones.",
)
restore_drill = _job(
    "restore_drill",
    dg.AssetSelection.checks_for_assets("backup"),
    "Restore the newest backup into a scratch database and compare it with what was backed up.",
)

audit_system = _job("audit_system", _assets("audit"), "Measure the system, judge it, store it, write its report.")


@dg.op(description="Refresh every symbol's probability file at least once a second, until its market closes.")
def live_session(context: dg.OpExecutionContext, strikecast: Strikecast) -> None:
    """Be one live session: wait for the one before to end, then refresh until a successor waits at the hour."""
    settings = strikecast.settings()
    database = strikecast.database()

    def fail_dead_runs(leadership: Leadership) -> None:
        """Its successor looks whether a session lives whose process was killed."""
        del leadership
        for run in runs_without_process(context.instance, database, datetime.now(UTC), LIVE_JOB):
            if run.run_id != context.run.run_id:
                fail(context.instance, run, "the process of this live session died; another took over")

    def report_file(symbol: str) -> None:
        context.log_event(
            dg.AssetMaterialization(
                "live_probabilities",
                partition=symbol,
                description="first file of this session",
                metadata={"path": dg.MetadataValue.path(str(probabilities_path(settings.output_dir, symbol)))},
            )
        )

    def report_session(report: SessionReport) -> None:
        ended = "so far" if report.ended is None else f"ended: {report.ended}"
        context.log_event(
            dg.AssetObservation(
                "live_probabilities", description=f"session {report.session} {ended}", metadata=session_metadata(report)
            )
        )

    # Dagster writes events into its database at once: the event loop must not wait for that.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="dagster events") as events:
        LiveSession(
            database,
            settings.output_dir,
            settings.tiers_usd,
            feed_factory(settings),
            run_id=context.run.run_id,
            wait=True,
            log=partial(_tell, events, context.log.info),
            on_start=fail_dead_runs,
            on_first_file=partial(_tell, events, report_file),
            on_report=report_session,
        ).run()


def _tell(executor: ThreadPoolExecutor, how: Log, text: str) -> None:
    executor.submit(how, text)


@dg.job(
    name=LIVE_JOB,
    executor_def=dg.in_process_executor,
    description="The live session: one run refreshes the probability files of all symbols, each second, until the "
    "market closes on the hour and the next run takes over. The sensor `live_supervisor` requests it a minute early, "
    "and whenever none is alive. Its latencies and counts are in its observations of `live_probabilities`.",
)
def live_refresh() -> None:
    """One op, one process, one asyncio loop."""
    live_session()
