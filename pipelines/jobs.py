"""Jobs: what the sensor, the schedules and the command line run."""

import dagster as dg

from pipelines.live.output import probabilities_path
from pipelines.live.session import LiveSession
from pipelines.resources import Strikecast

LIVE_JOB = "live_refresh"
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


@dg.op(description="Refresh every symbol's probability file once a second until cancelled.")
def live_session(context: dg.OpExecutionContext, strikecast: Strikecast) -> None:
    """Run a live session as this run; an earlier session found dead has its run marked as failed."""
    settings = strikecast.settings()

    def fail_dead_runs(run_ids: object) -> None:
        """A run whose process was killed stays STARTED for ever: its successor knows that it is dead."""
        assert isinstance(run_ids, list)
        for run_id in run_ids:
            run = context.instance.get_run_by_id(run_id)
            if run is not None and run.status in IN_PROGRESS:
                context.instance.report_run_failed(run, "the live session died; its successor took over")

    def report_file(symbol: str) -> None:
        context.log_event(
            dg.AssetMaterialization(
                "live_probabilities", partition=symbol, description="first file of this session",
                metadata={"path": dg.MetadataValue.path(str(probabilities_path(settings.output_dir, symbol)))},
            )
        )  # fmt: skip

    session = LiveSession(
        strikecast.database(),
        settings.output_dir,
        {symbol: known.strike_tier_usd for symbol, known in settings.symbols.items()},
        run_id=context.run.run_id,
        replay=settings.replay,
        say=context.log.info,
        on_succession=fail_dead_runs,
        on_first_file=report_file,
    )
    session.run()


@dg.job(
    name=LIVE_JOB,
    executor_def=dg.in_process_executor,
    description="The live session: one run refreshes the probability files of all symbols, each second, until "
    "cancelled. The sensor `live_supervisor` starts it whenever none is alive.",
)
def live_refresh() -> None:
    """One op, one process, one asyncio loop."""
    live_session()
