"""The only assembly of the Dagster project. Nothing is read from the environment or the network when it loads."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.calibration import calibration, champion_change, live_calibration
from assets.fingerprints import fingerprint
from assets.live import answer, live_probabilities, price_log
from assets.lookups import active_generation, active_standardised_generation, lookup, standardised_lookup
from assets.maintenance import backup, restores
from assets.prices import momentum, price_files, price_gap, price_history
from assets.volatility import standardised_fingerprint, volatility
from pipelines.jobs import (
    backup_database,
    build,
    calibrate,
    ingest_prices,
    live_refresh,
    promote,
    restore_drill,
    score_live_answers,
)
from pipelines.resources import Strikecast
from pipelines.schedules import (
    backfill,
    daily_live_calibration,
    nightly_backup,
    weekly_calibration,
    weekly_restore_drill,
)
from pipelines.sensors import live_supervisor

# Dagster 1.13 warns of its own use of `owners` when it binds a resource to a sensor; remove when it does not.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
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
            backup,
        ],
        asset_checks=[restores],
        jobs=[
            ingest_prices,
            build,
            calibrate,
            score_live_answers,
            promote,
            live_refresh,
            backup_database,
            restore_drill,
        ],
        schedules=[weekly_calibration, daily_live_calibration, backfill, nightly_backup, weekly_restore_drill],
        sensors=[
            live_supervisor,
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
