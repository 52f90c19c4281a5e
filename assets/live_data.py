"""What the live session reads and writes; the job `live_refresh` runs it, not materialization."""

import dagster as dg

#: Tables that a live session reads.
_READ = ["price_log", "active_generation", "active_standardised_generation", "volatility", "champion_change"]

answer = dg.AssetSpec(
    "answer",
    deps=_READ,
    description="The live session's answers, one per symbol and minute with all strikes: live_data.answer, one "
    "partition per day; scored when their hour has passed.",
    kinds={"postgres"},
    metadata={"dagster/table_name": "live_data.answer"},
)

live_probabilities = dg.AssetSpec(
    "live_probabilities",
    deps=_READ,
    description="`{symbol}_live_probabilities.json`: the probability of each of 21 strikes, replaced every second "
    "by the job `live_refresh`.",
    kinds={"json", "file"},
)
