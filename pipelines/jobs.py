"""Jobs: what the sensor, the schedules and the command line run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.live.feeds.choose import configured_feed
from pipelines.live.output import probabilities_path
from pipelines.live.session import LiveSession, SessionReport
from pipelines.live.succession import Seat
from pipelines.live_report import session_metadata
from pipelines.resources import Strikecast
from pipelines.storage.database import Role
from pipelines.storage.live import run_is_alive

LIVE_JOB = "live_refresh"
#: A requested run takes so long to load code and ask for the session lock; until then it is not missing.
START_GRACE = timedelta(seconds=60)
#: As above, for a run that Dagster says has started.
STARTED_GRACE = timedelta(seconds=10)
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

ingest_prices = dg.define_asset_job(
    "ingest_prices",
    selection=dg.AssetSelection.assets("price_history"),
    executor_def=dg.in_process_executor,
    description="Read price files of one symbol into price_history.",
)

#: In process: on two cores the start of a process per step costs more than the steps (docs/performance.md).
build = dg.define_asset_job(
    "build",
    selection=dg.AssetSelection.assets(
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
    executor_def=dg.in_process_executor,
    description="Rebuild one symbol from its stored bars, check it, publish it.",
)

calibrate = dg.define_asset_job(
    "calibrate",
    selection=dg.AssetSelection.assets("calibration"),
    executor_def=dg.in_process_executor,
    description="Score every model of one symbol on what it had not seen, and write the report.",
)

score_live_answers = dg.define_asset_job(
    "score_live_answers",
    selection=dg.AssetSelection.assets("live_calibration"),
    executor_def=dg.in_process_executor,
    description="Score yesterday's live answers of one symbol.",
)

promote = dg.define_asset_job(
    "promote",
    selection=dg.AssetSelection.assets("champion_change"),
    executor_def=dg.in_process_executor,
    description="Make a challenger the champion of one symbol, if outcomes that neither had seen say so.",
)


backup_database = dg.define_asset_job(
    "backup_database",
    selection=dg.AssetSelection.assets("backup") - dg.AssetSelection.all_asset_checks(),
    executor_def=dg.in_process_executor,
    description="Dump the whole database, read the dump back, rotate older ones.",
)

restore_drill = dg.define_asset_job(
    "restore_drill",
    selection=dg.AssetSelection.checks_for_assets("backup"),
    executor_def=dg.in_process_executor,
    description="Restore the newest backup into a scratch database and compare it with what was backed up.",
)


def _should_hold_its_lock(record: dg.RunRecord, now: datetime) -> bool:
    """Whether a run of the live job has had the time to tell the database that it is there; not so in the queue."""
    if record.start_time is not None:
        return now.timestamp() - record.start_time > STARTED_GRACE.total_seconds()
    queued = record.dagster_run.status is dg.DagsterRunStatus.QUEUED
    return not queued and now - record.update_timestamp > START_GRACE


@dg.op(description="Refresh every symbol's probability file at least once a second, until its market closes.")
def live_session(context: dg.OpExecutionContext, strikecast: Strikecast) -> None:
    """Be one live session: wait for the one before to end, then refresh until a successor waits at the hour."""
    settings = strikecast.settings()
    database = strikecast.database()

    def fail_dead_runs(seat: Seat) -> None:
        """A run whose process was killed stays STARTED for ever: its successor looks whether it lives."""
        del seat
        now = datetime.now(UTC)
        records = context.instance.get_run_records(dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS))
        others = [
            record.dagster_run
            for record in records
            if record.dagster_run.run_id != context.run.run_id and _should_hold_its_lock(record, now)
        ]
        with database.connect("live session", Role.LIVE) as connection:
            dead = [run for run in others if not run_is_alive(connection, run.run_id)]
        for run in dead:
            if run.status is dg.DagsterRunStatus.CANCELING:
                context.instance.report_run_canceled(run)
            else:
                context.instance.report_run_failed(run, "the process of this live session died; another took over")

    def report_file(symbol: str) -> None:
        context.log_event(
            dg.AssetMaterialization(
                "live_probabilities", partition=symbol, description="first file of this session",
                metadata={"path": dg.MetadataValue.path(str(probabilities_path(settings.output_dir, symbol)))},
            )
        )  # fmt: skip

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
            configured_feed(settings),
            run_id=context.run.run_id,
            wait=True,
            say=lambda text: _submit(events, context.log.info, text),
            on_start=fail_dead_runs,
            on_first_file=lambda symbol: _submit(events, report_file, symbol),
            on_report=report_session,
        ).run()


def _submit(executor: ThreadPoolExecutor, work: Callable[[str], None], text: str) -> None:
    executor.submit(work, text)


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
