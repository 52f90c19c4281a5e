"""What a running `strikecast up` says of itself in `up.json`, and the processes below it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.settings import Settings


def write_record(settings: Settings, url: str, children: Sequence[psutil.Process]) -> None:
    """Note this process, the address of its UI, and its children with their times of creation."""
    state = {"pid": os.getpid(), "ui_url": url, "children": [(child.pid, child.create_time()) for child in children]}
    _path(settings).write_text(json.dumps(state))


def read_record(settings: Settings) -> dict[str, Any] | None:
    """What was noted last; None without a note that can be read. Its process may be gone."""
    try:
        state = json.loads(_path(settings).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def remove_record(settings: Settings) -> None:
    """Say that nothing runs any more."""
    _path(settings).unlink(missing_ok=True)


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it, none when it is gone."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _path(settings: Settings) -> Path:
    return settings.home / "up.json"
