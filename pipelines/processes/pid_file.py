"""The pid file of `strikecast up`, and process trees."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.settings import Settings


def write_pid_file(settings: Settings, url: str, children: Sequence[psutil.Process]) -> None:
    """Record this process, the URL of its UI, and its child processes with their creation times in `up.json`."""
    state = {"pid": os.getpid(), "ui_url": url, "children": [(child.pid, child.create_time()) for child in children]}
    _path(settings).write_text(json.dumps(state))


def read_pid_file(settings: Settings) -> dict[str, Any] | None:
    """The recorded state, None without a readable file. The recorded process may have exited."""
    try:
        state = json.loads(_path(settings).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def remove_pid_file(settings: Settings) -> None:
    """Delete the file if it exists."""
    _path(settings).unlink(missing_ok=True)


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants; empty when it has exited."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _path(settings: Settings) -> Path:
    return settings.home / "up.json"
