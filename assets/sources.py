"""What is delivered to the system from outside."""

import dagster as dg

from assets.common import table_definition

price_files = dg.AssetSpec(
    "price_files",
    description="One-minute bars as delivered: CSV, csv.gz, zip or Parquet files of any exchange.",
    kinds={"file", "csv", "parquet"},
)

reference_value = dg.AssetSpec(
    "reference_value",
    description="Values of a market's index and settled values, of any producer: live_data.reference_value. The basis "
    "between the index and our price is estimated from them.",
    kinds={"postgres"},
    metadata=table_definition("live_data.reference_value"),
)

price_log = dg.AssetSpec(
    "price_log",
    description="Ticks of any producer as they arrive: live_data.price_log.",
    kinds={"postgres"},
    metadata=table_definition("live_data.price_log"),
)
