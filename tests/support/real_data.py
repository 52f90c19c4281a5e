"""The setting STRIKECAST_REAL_DATA: a folder of real data, which tests then use in addition to synthetic bars.

It contains prices/{btc,eth}_1m.parquet, and reference/ with tables exported by the original.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "STRIKECAST_REAL_DATA"
ROOT = Path(__file__).parents[2]
#: Read at import, because tests run without the caller's environment. Relative to the repository's root.
FOLDER = ROOT / os.environ[VARIABLE] if os.environ.get(VARIABLE) else None
#: Parameters of data fixtures: synthetic bars always, real data with the setting.
SOURCES = ("generated", pytest.param("real", marks=pytest.mark.real_data))


def real_data(path: str) -> Path:
    """Path of a file or folder of the real data; only for tests marked `real_data`."""
    assert FOLDER is not None, f"tests that use real data must be marked real_data: {path}"
    return FOLDER / path


def problem() -> str | None:
    """The missing parts of the folder in one line; None when it is complete or not set."""
    if FOLDER is None:
        return None
    missing = [
        *([] if (FOLDER / "prices" / "btc_1m.parquet").is_file() else ["prices/btc_1m.parquet"]),
        *([] if (FOLDER / "reference").is_dir() else ["reference/"]),
    ]
    return f"{VARIABLE}={os.environ[VARIABLE]}: {FOLDER} has no {' and no '.join(missing)}" if missing else None
