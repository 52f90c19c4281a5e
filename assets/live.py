"""What the live session reads and writes. It is run by the job `live_refresh`, not by materialization."""

import dagster as dg

from assets.describe import OWNERS
from assets.lookups import active_generation, active_standardised_generation

price_log = dg.AssetSpec(
    "price_log",
    description="Ticks as they arrive, from any producer: live_data.price_log.",
    group_name="live_data",
    owners=OWNERS,
    kinds={"postgres"},
    metadata={"dagster/table_name": "live_data.price_log"},
)

answer = dg.AssetSpec(
    "answer",
    deps=[price_log, active_generation, active_standardised_generation],
    description="The live session's answers, one per symbol and minute with all strikes: live_data.answer, one "
    "partition per day; scored when their hour has passed.",
    group_name="live_data",
    owners=OWNERS,
    kinds={"postgres"},
    metadata={"dagster/table_name": "live_data.answer"},
)

live_probabilities = dg.AssetSpec(
    "live_probabilities",
    deps=[price_log, active_generation, active_standardised_generation],
    description="`{symbol}_live_probabilities.json`: the probability of each of 21 strikes, replaced every second "
    "by the job `live_refresh`.",
    group_name="live_data",
    owners=OWNERS,
    kinds={"json", "file"},
)
