"""Print docs/strike-table.schema.json from the model of strike tables: `make reference`."""

import json
import sys

from pipelines.live.strike_table_schema import json_schema

if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
