"""Collect the facts that alert rules apply to: jobs, restore drills, live files, surroundings, the database."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from pipelines.domain.models.freshness import judge
from pipelines.domain.monitoring.alerts import FRESH_FOR, Facts, JobFacts, Surroundings
from pipelines.domain.monitoring.audit.targets import BREACH_WINDOW, lasting_breaches
from pipelines.errors import DatabaseError
from pipelines.live.probability_reader import read_view
from pipelines.live.strike_table_reader import read_table, table_names
from pipelines.monitoring.alert_delivery import read_state
from pipelines.monitoring.desk import read_desk
from pipelines.monitoring.surroundings import read_server
from pipelines.settings import Settings
from pipelines.storage.live.day_partitions import count_days_ahead
from pipelines.storage.live.sessions import session_state
from pipelines.storage.maintenance.runs import repeatedly_skipped
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.monitoring.audits import read_judgements
from pipelines.storage.monitoring.measurements import collation_mismatches
from pipelines.storage.postgres.connection import Database, DriverError, Role, full_message

#: An evaluation holds the lock of the alerts.
STATEMENT_TIMEOUT_SECONDS = 10
#: Maintenance jobs and the asset that each materializes.
ASSET_OF_JOB = {"archive_prices": "price_archive", "backup_database": "backup", "audit_system": "audit"}
#: Maintenance jobs without an asset.
OP_JOBS = ("make_partitions", "vacuum_database", "rotate_logs", "retention")
DRILL_JOB = "restore_drill"
RESTORE_CHECK = dg.AssetCheckKey(dg.AssetKey("backup"), "restores")
#: Those without `desk_positions_are_settled`: the positions themselves are looked at.
DESK_CHECKS = tuple(
    dg.AssetCheckKey(dg.AssetKey("paper_desk"), name) for name in ("desk_book_balances", "desk_replays_equal")
)
#: Metadata of a check that say why it failed.
CHECK_REASONS = ("problem", "differences", "detail")
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def collect_facts(settings: Settings, database: Database, instance: dg.DagsterInstance, now: datetime) -> Facts:
    """The state of the system at `now` (aware UTC); a database that cannot be used is one of the facts."""
    drill, drill_problem = _restore_drill(instance)
    facts = Facts(
        watching_since=read_state(settings, now).watching_since,
        jobs=[*(_job(instance, job, asset) for job, asset in (dict.fromkeys(OP_JOBS) | ASSET_OF_JOB).items()), drill],
        drill_problem=drill_problem,
    )
    with_timeouts = replace(database, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS, lock_timeout_seconds=1)
    try:
        with with_timeouts.connect("watchdog", Role.PIPELINE) as connection:
            published = champion_generations(connection, list(settings.symbols))
            session = session_state(connection)
            return replace(
                facts,
                files=[judge(read_view(settings.output_dir, symbol, now).file, session) for symbol in published],
                tables=[
                    read_table(settings.output_dir, name, now).judge(session)
                    for name in table_names(settings.series)
                    if name.symbol in published
                ],
                days_ahead=count_days_ahead(connection),
                repeatedly_skipped=repeatedly_skipped(connection),
                surroundings=_surroundings(settings, with_timeouts),
                collations=collation_mismatches(connection),
                desk=read_desk(settings, connection, session, now, _failed_desk_checks(instance)),
                breaches=lasting_breaches(read_judgements(connection, now - BREACH_WINDOW), now),
            )
    except (DatabaseError, DriverError) as error:
        return replace(facts, database_error=full_message(error))


def _job(instance: dg.DagsterInstance, job: str, asset: str | None) -> JobFacts:
    """Facts of a job, which last succeeded when its asset was materialized or, without one, when its run did."""
    if asset is None:
        succeeded = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
        times = [record.end_time or 0.0 for record in instance.get_run_records(succeeded, limit=1)]
    else:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        times = [] if event is None else [event.timestamp]
    succeeded_at = datetime.fromtimestamp(times[0], UTC) if times else None
    return JobFacts(job, succeeded_at, FRESH_FOR[asset or job], _failed_run(instance, job, succeeded_at))


def _failed_run(instance: dg.DagsterInstance, job: str, succeeded_at: datetime | None) -> str | None:
    """Id of a job's newest run if it failed and its asset was not materialized later by other means."""
    newest = next(iter(instance.get_run_records(dg.RunsFilter(job_name=job, statuses=ENDED), limit=1)), None)
    if newest is None or newest.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
        return None
    ended_at = newest.end_time or newest.update_timestamp.timestamp()
    return None if succeeded_at is not None and succeeded_at.timestamp() > ended_at else newest.dagster_run.run_id


def _restore_drill(instance: dg.DagsterInstance) -> tuple[JobFacts, str | None]:
    """Facts of the drill's job, and why the newest drill that ended failed."""
    evaluated_at, problem = _newest_check(instance, RESTORE_CHECK)
    failed_run = _failed_run(instance, DRILL_JOB, evaluated_at)
    return JobFacts(DRILL_JOB, evaluated_at, FRESH_FOR["restores"], failed_run), problem


def _failed_desk_checks(instance: dg.DagsterInstance) -> dict[str, str]:
    """Why the newest evaluation of each of DESK_CHECKS that failed did, by name."""
    found = {key.name: _newest_check(instance, key)[1] for key in DESK_CHECKS}
    return {name: problem for name, problem in found.items() if problem is not None}


def _newest_check(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> tuple[datetime | None, str | None]:
    """When a check was evaluated last (aware UTC), and why its newest run that ended failed."""
    evaluated_at = problem = None
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        if record.status.value != "PLANNED" and record.evaluation is not None:
            evaluated_at = datetime.fromtimestamp(record.create_timestamp, UTC)
            if not record.evaluation.passed and problem is None:
                metadata = record.evaluation.metadata
                reasons = [str(metadata[name].value) for name in CHECK_REASONS if name in metadata]
                problem = "; ".join(reasons) or "see the check"
            break
        run = instance.get_run_by_id(record.run_id)
        if problem is None and (run is None or run.is_finished):
            problem = "its run ended without a check result"
    return evaluated_at, problem


def _surroundings(settings: Settings, database: Database) -> Surroundings:
    """Slots and clocks by the auditor's rights, or else by our own; `strikecast up` looks at the disks.

    On a full disk the database is down, and with it Dagster's sensors.
    """
    for role in (Role.AUDITOR, Role.PIPELINE):
        with suppress(DatabaseError), database.connect("watchdog", role, autocommit=True) as connection:
            return read_server(settings, connection)
    return Surroundings()
