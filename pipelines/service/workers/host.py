"""What a host does for its workers when it starts."""

import dagster as dg

from pipelines.orchestration.queues import BUILD_POOLS
from pipelines.service.workers.identity import own_identity, publish_identity
from pipelines.settings import Settings


def prepare_workers(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Store the host's identity, and set how many runs may execute the same asset at once; without workers, one may."""
    storage = instance.event_log_storage
    limits = {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default}
    if settings.has_workers:
        publish_identity(instance, own_identity(settings))
    for pool in BUILD_POOLS:
        if settings.has_workers and limits.get(pool) != settings.workers.pool_limit:
            storage.set_concurrency_slots(pool, settings.workers.pool_limit)
        elif not settings.has_workers and pool in limits:
            storage.delete_concurrency_limit(pool)
