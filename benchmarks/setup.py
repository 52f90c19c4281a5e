"""Measure the set-up of `make demo`, a virtual environment from requirements.lock, and that of pip from the same lock.

`python -m benchmarks.setup` installs both into temporary folders without caches, so both download all packages.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
LOCK = ROOT / ".ci" / "requirements.lock"


def measured(*command: str | Path) -> tuple[float, float]:
    """Elapsed seconds and CPU seconds of a command, including its children."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, "UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def main() -> None:
    """Print both times."""
    with TemporaryDirectory() as folder:
        ours = measured(sys.executable, ROOT / ".ci" / "install.py", Path(folder) / "ours", LOCK)
        by_pip = Path(folder) / "pip"
        subprocess.run([sys.executable, "-m", "venv", by_pip], check=True)
        theirs = measured(
            by_pip / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", LOCK
        )
    for name, (seconds, cpu) in (("set-up", ours), ("pip", theirs)):
        print(f"{name}: {seconds:.1f} s, {cpu:.1f} s of CPU time")
    print(f"pip takes {theirs[0] / ours[0]:.1f} times as long, {theirs[1] / ours[1]:.1f} times the CPU time")


if __name__ == "__main__":
    main()
