"""The assembly of the Dagster project. Nothing is read from the environment or the network when it loads."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

import dagster as dg

from assets import analytics, historical_data, live_data, markets, ops, paper_desk, scores, sources
from assets.common import STEPS
from pipelines.domain.monitoring.alerts import FRESH_FOR
from pipelines.orchestration import desk, jobs, maintenance, schedules, sensors
from pipelines.orchestration.symbol_updates import YARDSTICK_ASSETS, update_job
from pipelines.resources import default_resources

# Dagster 1.13 warns of its own use of `owners` when it binds a resource to a sensor; remove when it does not.
warnings.filterwarnings(
    "ignore", message="Parameter `owners` of initializer `SensorDefinition", category=dg.BetaWarning
)
# The handler of python_logs in dagster.yaml; remove when it is no longer beta.
warnings.filterwarnings(
    "ignore", message="Handling yaml-defined logging configuration is currently in beta", category=dg.BetaWarning
)

#: Asset modules; each is a group in the UI, except that the paper desk is one of those of markets.
MODULES = (sources, historical_data, analytics, scores, live_data, markets, paper_desk, ops)
_GROUPS = {paper_desk: "markets"}
#: Prices are delivered daily, and everything built from them follows at once.
_PRICES = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
#: Models that only serve as a comparison are rebuilt weekly.
_YARDSTICK = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=9), warn_window=timedelta(days=8))
#: How old each asset may become before its freshness policy fails.
FRESHNESS = {
    **dict.fromkeys(["price_history", *jobs.BUILT_ASSETS], _PRICES),
    **dict.fromkeys(YARDSTICK_ASSETS, _YARDSTICK),
    **dict.fromkeys(
        ["calibration", "edge_score", "desk_backtest"], dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8))
    ),
    "live_calibration": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26)),
    # A session writes one materialization per symbol when it begins, on the hour.
    "live_probabilities": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2)),
    **{
        name: dg.FreshnessPolicy.time_window(fail_window=FRESH_FOR[name])
        for name in ("backup", "price_archive", "audit")
    },
}


def _load_group(module: ModuleType) -> Sequence[Any]:
    """A module's assets, with owners, freshness policies and references to their source code."""

    def complete(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            owners=["team:strikecast"],
            group_name=_GROUPS.get(module, module.__name__.removeprefix("assets.")),
            freshness_policy=FRESHNESS.get(spec.key.to_user_string()),
        )

    loaded: Any = dg.load_assets_from_modules([module], include_specs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # code references are beta in Dagster 1.13
        return dg.with_source_code_references(dg.map_asset_specs(complete, loaded))


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions; `resources` replace those with the same key, for tests."""
    return dg.Definitions(
        assets=[asset for module in MODULES for asset in _load_group(module)],
        asset_checks=dg.load_asset_checks_from_modules(MODULES),
        jobs=[
            jobs.ingest_prices,
            jobs.build,
            update_job(STEPS),
            jobs.check_stored,
            jobs.calibrate,
            jobs.score_live_answers,
            jobs.score_edge,
            jobs.backtest_desk,
            jobs.promote,
            jobs.backfill_markets,
            jobs.report_desk,
            jobs.replay_desk,
            jobs.live_refresh,
            desk.stop_desk,
            desk.start_desk,
            jobs.archive_prices,
            jobs.backup_database,
            jobs.restore_drill,
            jobs.audit_system,
            maintenance.make_partitions,
            maintenance.retention,
            maintenance.vacuum_database,
            maintenance.rotate_logs,
        ],
        schedules=schedules.ALL,
        sensors=[
            sensors.live_supervisor,
            sensors.run_reaper,
            sensors.watchdog,
            sensors.a_run_failed,
            sensors.rebuild_what_changed,
        ],
        resources={**default_resources(), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
