"""The pid file of `strikecast up`, `up.json` in the home folder, and trees of processes."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from pipelines.settings import Settings


def write_pid_file(settings: Settings, ui_url: str, children: Iterable[psutil.Process]) -> None:
    """Write this process's pid, the UI's address, and the pids and creation times of its children."""
    state = {"pid": os.getpid(), "ui_url": ui_url, "children": [(child.pid, child.create_time()) for child in children]}
    _path(settings).write_text(json.dumps(state))


def read_pid_file(settings: Settings) -> dict[str, Any] | None:
    """Read the pid file; None when it is missing or malformed. The processes in it may have ended."""
    try:
        state = json.loads(_path(settings).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def remove_pid_file(settings: Settings) -> None:
    """Remove the pid file if there is one."""
    _path(settings).unlink(missing_ok=True)


def running_ui_url(settings: Settings) -> str | None:
    """Address of the Dagster UI, or None when `strikecast up` is not running."""
    state = read_pid_file(settings) or {}
    pid = state.get("pid")
    return str(state["ui_url"]) if isinstance(pid, int) and psutil.pid_exists(pid) else None


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants; empty when it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _path(settings: Settings) -> Path:
    return settings.home / "up.json"
