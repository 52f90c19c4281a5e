"""What is delivered to the system from outside."""

import dagster as dg

price_files = dg.AssetSpec(
    "price_files",
    description="One-minute bars as delivered: CSV, csv.gz, zip or Parquet files of any exchange.",
    kinds={"file", "csv", "parquet"},
)
