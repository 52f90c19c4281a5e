"""The alerts that a tick of the watchdog leaves."""

from datetime import UTC, datetime

import dagster as dg

from pipelines.monitoring.alert_delivery import read_state
from pipelines.orchestration.sensors import watchdog
from pipelines.resources import default_resources
from pipelines.settings import load_settings


def problem_keys(instance: dg.DagsterInstance) -> set[str]:
    """Keys of the problems after one tick of the sensor."""
    with dg.build_sensor_context(instance=instance, resources=default_resources()) as context:
        watchdog(context)
    return set(lasting())


def lasting() -> dict[str, str]:
    """Messages of the alerts that last, by key."""
    state = read_state(load_settings(), datetime.now(UTC))
    return {key: one.message for key, one in state.active.items()}
