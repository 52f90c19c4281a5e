"""Start child processes of `strikecast up`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

#: Unless they are set. Each of Dagster's processes has 10 to 20 threads, and glibc gives each memory of its own, which
#: costs 10 MB a process. Freshness policies are windows of hours: looking every 30 s is not needed.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "FRESHNESS_DAEMON_INTERVAL_SECONDS": "300"}


def spawn(folder: Path, *module: str | Path, **options: Any) -> psutil.Popen:
    """Start `python -m MODULE...` in `folder`, which is an import path.

    It gets a session of its own: Ctrl-C reaches this process only, which stops the others.
    """
    command = [sys.executable, "-m", *map(str, module)]
    environment = {**ENVIRONMENT, **os.environ}
    return psutil.Popen(
        command, stdin=subprocess.DEVNULL, cwd=folder, env=environment, start_new_session=True, **options
    )
