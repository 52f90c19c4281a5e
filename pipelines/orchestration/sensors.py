"""Sensors: each checks the state, requests the runs that are missing, and logs transitions."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.domain.models.freshness import HEARTBEAT_LIMIT_SECONDS
from pipelines.domain.monitoring.alerts import is_unknown, problems
from pipelines.errors import DatabaseError
from pipelines.monitoring.alert_delivery import alerts_lock, update_alerts
from pipelines.monitoring.conditions import collect_facts
from pipelines.monitoring.replica import replica_problems
from pipelines.orchestration.jobs import live_refresh
from pipelines.orchestration.run_reaper import (
    IN_PROGRESS,
    START_GRACE,
    fail,
    fail_untaken_runs,
    report_missed_retries,
    runs_without_process,
    untaken_problems,
)
from pipelines.orchestration.symbol_updates import (
    LARGEST_BATCH,
    UPDATE_JOB,
    registered_symbols,
    symbols_in,
    update_requests,
)
from pipelines.resources import LIVE_JOB, DatabaseResource, SettingsResource
from pipelines.settings import Settings
from pipelines.storage.live.sessions import LockState, read_lock_state
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.progress import symbols_to_build

CHECK_SECONDS = 5
#: Before the hour: a run takes about ten seconds to start, and the first one may fail.
SUCCESSOR_EARLY = timedelta(seconds=60)
#: Ahead of everything else in the queue.
PRIORITY = "10"


@dg.sensor(
    job=live_refresh,
    minimum_interval_seconds=CHECK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps a live session running, and starts its successor a minute before the hour. A session is alive "
    "while it holds its lock in the database, which a killed process loses at once, and sends its heartbeat.",
)
def live_supervisor(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.RunRequest | dg.SkipReason:
    """Request a run of the live job when one is missing, unless one is starting or waiting already."""
    now = datetime.now(UTC)
    try:
        with database.database.connect("live supervisor", Role.PIPELINE) as connection:
            state = read_lock_state(connection)
            published = champion_generations(connection, list(settings.values.symbols))
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    if not published:
        return dg.SkipReason("no symbol has a published generation yet: run `strikecast build`")
    wanted = wanted_because(state, now, hot_standby=settings.values.hot_standby)
    if wanted is None:
        return dg.SkipReason(f"live session {state.session} is running")
    records = context.instance.get_run_records(dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS))
    starting = [
        record.dagster_run.run_id
        for record in records
        if record.dagster_run.run_id != state.run_id and _may_be_starting(record, now)
    ]
    if starting:
        return dg.SkipReason(f"{wanted}; run {starting[0]} is starting")
    return dg.RunRequest(run_key=None, tags={"strikecast/wanted_because": wanted, "dagster/priority": PRIORITY})


def _may_be_starting(record: dg.RunRecord, now: datetime) -> bool:
    """Whether a run may still become a session: it waits for a place, or got one lately."""
    if record.dagster_run.status is dg.DagsterRunStatus.QUEUED:
        return True
    return now - record.update_timestamp <= START_GRACE


def wanted_because(state: LockState, now: datetime, *, hot_standby: bool) -> str | None:
    """Why another run is wanted, None when none is; `now` is aware UTC."""
    if state.holder_pid is None and not state.waiting:
        return "no live session is running"
    if state.waiting:
        return None
    if state.heartbeat_age_seconds is None or state.heartbeat_age_seconds > HEARTBEAT_LIMIT_SECONDS:
        return f"the live session has been silent for more than {HEARTBEAT_LIMIT_SECONDS:g} s"
    if hot_standby:
        return "a hot standby is missing"
    if state.hands_over_at is not None and state.hands_over_at - now <= SUCCESSOR_EARLY:
        return f"live session {state.session} hands over at {state.hands_over_at:%H:%M} UTC"
    return None


CHECK_FACTS_SECONDS = 30
#: A symbol whose build failed, or was lost with its process, is built once more; then new prices are awaited.
BUILD_ATTEMPTS = 2


@dg.sensor(
    job_name=UPDATE_JOB,
    minimum_interval_seconds=CHECK_FACTS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New or corrected prices rebuild everything that depends on them. Requests one run "
    f"for up to {LARGEST_BATCH} symbols whose bars changed since their newest generation. A failed build is tried once "
    "more.",
)
def rebuild_what_changed(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.SensorResult | dg.SkipReason:
    """Request builds of the symbols whose bars changed, each ingestion at most BUILD_ATTEMPTS times."""
    symbols = registered_symbols(context.instance, settings)
    try:
        with database.database.connect("updates", Role.PIPELINE) as connection:
            changed = symbols_to_build(connection, symbols)
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    if not changed:
        return dg.SkipReason("what is built is that of the stored bars")
    records = context.instance.get_run_records(dg.RunsFilter(job_name=UPDATE_JOB, statuses=IN_PROGRESS))
    running = symbols_in(record.dagster_run for record in records)
    tried: dict[str, list[int]] = json.loads(context.cursor or "{}")
    attempts = {
        symbol: [ingestion, tried[symbol][1] if tried.get(symbol, [0])[0] == ingestion else 0]
        for symbol, ingestion in changed.items()
    }
    due = [symbol for symbol in changed if symbol not in running and attempts[symbol][1] < BUILD_ATTEMPTS]
    for symbol in due:
        attempts[symbol][1] += 1
    if not due:
        return dg.SkipReason(f"{', '.join(changed)}: being built, or awaiting new prices after failed builds")
    return dg.SensorResult(run_requests=update_requests(due), cursor=json.dumps(attempts))


@dg.sensor(
    minimum_interval_seconds=CHECK_FACTS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose worker process has exited, which frees their pool: Dagster takes them for running. A "
    "run's process holds a lock in the database; a run is failed when two checks in a row do not find its lock. Runs "
    "that no worker takes are failed as well, and a failure whose retry Dagster has missed is reported again.",
)
def run_reaper(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.SkipReason:
    """Fail the runs whose process was missing at the last check, too."""
    suspects, now = set((context.cursor or "").split()), datetime.now(UTC)
    report_missed_retries(context.instance, now)
    untaken = fail_untaken_runs(context.instance, now, settings.values.workers.queue_timeout_seconds)
    try:
        missing = runs_without_process(context.instance, database.database, now)
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    dead = [run for run in missing if run.run_id in suspects]
    for run in dead:
        fail(context.instance, run, "the process of this run is gone: it was killed, or its machine was")
    context.update_cursor(" ".join(run.run_id for run in missing if run not in dead))
    failed = [*untaken, *(run.run_id for run in dead)]
    return dg.SkipReason(f"failed {', '.join(failed)}" if failed else "every run has its process")


@dg.sensor(
    minimum_interval_seconds=CHECK_FACTS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Alerts when a maintenance job failed or is late, a restore drill failed, a probability file is "
    "stale, a clock is wrong, partitions are missing, or the replica cannot be read from; each problem is stored when "
    "it begins, worsens and ends, and delivered by `strikecast up`.",
)
def watchdog(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.SkipReason:
    """Store what began, worsened and ended since the last check."""
    return dg.SkipReason(_check(context, settings.values, database.database))


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=CHECK_FACTS_SECONDS,
    description="When a run fails, evaluates the alert conditions at once.",
)
def a_run_failed(context: dg.RunFailureSensorContext, settings: SettingsResource, database: DatabaseResource) -> None:
    """As `watchdog`; a failed live session is no problem while another one writes the files."""
    _check(context, settings.values, database.database)


def _check(
    context: dg.SensorEvaluationContext | dg.RunFailureSensorContext, settings: Settings, database: Database
) -> str:
    def log(text: str) -> None:
        context.log.warning(text)  # the first use of a sensor's log creates a file, so not at each tick

    of_replica = replica_problems(settings, database)
    with alerts_lock(settings):
        now = datetime.now(UTC)
        facts = collect_facts(settings, database, context.instance, now)
        found = [*problems(facts, settings.alerts, now), *untaken_problems(context.instance, now), *of_replica]
        lasting = update_alerts(settings, found, now, log, is_unknown=lambda key: is_unknown(key, facts))
    return "; ".join(one.message for one in lasting) or "no problems"
