"""What the live session reads and writes; the job `live_refresh` runs it, not materialization."""

import dagster as dg

from assets.common import table_definition
from pipelines.processes.run_titles import LOCATION, REPOSITORY

#: Tables that a live session reads.
LIVE_INPUTS = [
    "price_log",
    "reference_value",
    "active_generation",
    "active_standardised_generation",
    "volatility",
    "champion_change",
]

answer = dg.AssetSpec(
    "answer",
    deps=LIVE_INPUTS,
    description="The live session's answers, one per symbol and minute with all strikes: live_data.answer, one "
    "partition per day; scored when their hour has passed.",
    kinds={"postgres"},
    metadata=table_definition("live_data.answer"),
)

live_probabilities = dg.AssetSpec(
    "live_probabilities",
    deps=LIVE_INPUTS,
    description="`{symbol}_live_probabilities.json`: the probability of each of 21 strikes, replaced every second "
    f"by the job [`live_refresh`](/locations/{LOCATION}/jobs/live_refresh), which the sensor "
    f"[`live_supervisor`](/locations/{LOCATION}/sensors/live_supervisor) requests: the asset itself cannot be "
    "materialized. With the feed `replay`, the default, prices are stored history, not the market's now; the metadata "
    "`feed` names the source.",
    kinds={"json", "file"},
    metadata={"job": dg.MetadataValue.job("live_refresh", LOCATION, repository_name=REPOSITORY)},
)
