"""The only assembly of the Dagster project. Nothing is read from the environment or the network when it loads."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.audit import audit
from assets.calibration import calibration, champion_change, live_calibration
from assets.fingerprints import fingerprint
from assets.housekeeping import autovacuum_as_declared, day_partitions, log_files, price_archive, retention, vacuum
from assets.live import answer, live_probabilities, price_log
from assets.lookups import active_generation, active_standardised_generation, lookup, standardised_lookup
from assets.maintenance import backup, restores
from assets.prices import momentum, price_files, price_gap, price_history
from assets.volatility import standardised_fingerprint, volatility
from pipelines.orchestration.jobs import (
    archive_prices,
    audit_system,
    backup_database,
    build,
    calibrate,
    compress_logs,
    ingest_prices,
    live_refresh,
    make_partitions,
    promote,
    remove_what_is_old,
    restore_drill,
    score_live_answers,
    vacuum_database,
)
from pipelines.orchestration.schedules import MAINTENANCE, backfill, daily_live_calibration, weekly_calibration
from pipelines.orchestration.sensors import a_run_failed, live_supervisor, run_reaper, watchdog
from pipelines.resources import Strikecast

# Dagster 1.13 warns of its own use of `owners` when it binds a resource to a sensor; remove when it does not.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
)


# The handler of python_logs in dagster.yaml; remove when it is beta no more.
warnings.filterwarnings(
    "ignore", message="Handling yaml-defined logging configuration is currently in beta", category=dg.BetaWarning
)


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions; `resources` replace those of the same name, for tests."""
    return dg.Definitions(
        assets=[
            price_files,
            price_history,
            price_gap,
            momentum,
            fingerprint,
            lookup,
            active_generation,
            volatility,
            standardised_fingerprint,
            standardised_lookup,
            active_standardised_generation,
            calibration,
            champion_change,
            price_log,
            answer,
            live_probabilities,
            live_calibration,
            day_partitions,
            retention,
            vacuum,
            price_archive,
            log_files,
            backup,
            audit,
        ],
        asset_checks=[restores, autovacuum_as_declared],
        jobs=[
            ingest_prices,
            build,
            calibrate,
            score_live_answers,
            promote,
            live_refresh,
            make_partitions,
            remove_what_is_old,
            vacuum_database,
            archive_prices,
            compress_logs,
            backup_database,
            restore_drill,
            audit_system,
        ],
        schedules=[weekly_calibration, daily_live_calibration, backfill, *MAINTENANCE],
        sensors=[
            live_supervisor,
            run_reaper,
            watchdog,
            a_run_failed,
            dg.AutomationConditionSensorDefinition(
                "rebuild_what_changed",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=30,
                description="New or corrected prices rebuild everything that depends on them.",
            ),
        ],
        resources={"strikecast": Strikecast(), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
