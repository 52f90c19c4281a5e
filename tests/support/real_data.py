"""The setting STRIKECAST_REAL_DATA: a folder of real data, on which tests then run besides generated bars.

It holds prices/{btc,eth}_1m.parquet, and reference/ with the tables that the original exported.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "STRIKECAST_REAL_DATA"
ROOT = Path(__file__).parents[2]
#: Read at import, because tests do not see the settings of the caller. A relative path starts at the repository's root.
FOLDER = ROOT / os.environ[VARIABLE] if os.environ.get(VARIABLE) else None
#: Parameters of a fixture that provides data: generated ones always, real ones with the setting.
SOURCES = ("generated", pytest.param("real", marks=pytest.mark.real_data))


def real_data(path: str) -> Path:
    """A file or folder of the real data; only for tests marked `real_data`."""
    assert FOLDER is not None, f"a test that needs real data is to be marked real_data: {path}"
    return FOLDER / path


def problem() -> str | None:
    """What the folder lacks, in one line; None when it is complete or not set."""
    if FOLDER is None:
        return None
    missing = [
        *([] if (FOLDER / "prices" / "btc_1m.parquet").is_file() else ["prices/btc_1m.parquet"]),
        *([] if (FOLDER / "reference").is_dir() else ["reference/"]),
    ]
    return f"{VARIABLE}={os.environ[VARIABLE]}: {FOLDER} has no {' and no '.join(missing)}" if missing else None
