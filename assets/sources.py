"""What is delivered to the system from outside."""

import dagster as dg

price_files = dg.AssetSpec(
    "price_files",
    description="One-minute bars as delivered: CSV, csv.gz, zip or Parquet files of any exchange.",
    kinds={"file", "csv", "parquet"},
)

price_log = dg.AssetSpec(
    "price_log",
    description="Ticks of any producer as they arrive: live_data.price_log.",
    kinds={"postgres"},
    metadata={"dagster/table_name": "live_data.price_log"},
)
