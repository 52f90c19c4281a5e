"""Which runs a worker may execute, by the queue that the tag of a run names: docs/workers.md.

A run without the tag stays on the host: the live session, maintenance, backups, the paper desk's account, the exchange
of markets, whose limit of requests is one process's, and price files, which are on the host.
"""

from enum import StrEnum

from pipelines.processes.run_titles import QUEUE_TAG


class Queue(StrEnum):
    """Queues of runs, by what they need: a worker may serve some of them only."""

    BUILDS = "builds"
    SCORING = "scoring"
    IMPORTS = "imports"


#: Pools of the assets that workers build, score or import: they take turns by symbol, which its lock ensures.
BUILD_POOLS = (
    "price_history",
    "momentum",
    "volatility",
    "fingerprint",
    "lookup",
    "standardised_fingerprint",
    "standardised_lookup",
    "calibration",
    "live_calibration",
)


def queued(queue: Queue) -> dict[str, str]:
    """Tags of a run that any worker of a queue may execute; without workers they have no effect."""
    return {QUEUE_TAG: str(queue)}
