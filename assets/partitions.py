"""One partition per symbol. Symbols are configuration; `strikecast` adds them to the Dagster instance."""

import dagster as dg

SYMBOLS = dg.DynamicPartitionsDefinition(name="symbol")
