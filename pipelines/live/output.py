"""The probability files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


def probabilities_path(folder: Path, symbol: str) -> Path:
    """Where a symbol's probabilities are: `{sym}_live_probabilities.json`."""
    return folder / f"{symbol.lower()}_live_probabilities.json"


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step: a reader sees the old content or the new one, whole.

    Not synced to disk: after a power cut the next second's file is worth more than the last one's.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
    partial.replace(path)
