"""Start child processes of `strikecast up`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil


def spawn(folder: Path, *module: str | Path, **options: Any) -> psutil.Popen:
    """Start `python -m MODULE...` in `folder`, which is an import path.

    It gets a session of its own: Ctrl-C reaches this process only, which stops the others.
    """
    command = [sys.executable, "-m", *map(str, module)]
    return psutil.Popen(command, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True, **options)
