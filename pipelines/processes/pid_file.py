"""The pid file of `strikecast up`, `up.json` in the home folder, and trees of processes."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from pipelines.atomic_files import atomic_write, read_json
from pipelines.errors import printable
from pipelines.settings import Settings

Pid = Annotated[int, Field(gt=0, lt=1 << 31)]


class PidFile(TypedDict):
    """Content of `up.json`; `children`: pids and creation times (Unix time)."""

    pid: Pid
    token: str
    ui_url: str
    page_url: str
    children: list[tuple[Pid, float]]


_PID_FILE = TypeAdapter(PidFile)


def write_pid_file(
    settings: Settings, token: str, ui_url: str, page_url: str, children: Iterable[psutil.Process]
) -> None:
    """Write this process's pid and token, the addresses, and the pids and creation times of its children."""
    identities = []
    for child in children:
        with suppress(psutil.NoSuchProcess):
            identities.append((child.pid, child.create_time()))
    state = {"pid": os.getpid(), "token": token, "ui_url": ui_url, "page_url": page_url, "children": identities}
    with atomic_write(_path(settings)) as partial:
        partial.write_text(json.dumps(state))


def read_pid_file(settings: Settings) -> PidFile | None:
    """Read the pid file; None when it is missing or malformed. The processes in it may have ended."""
    try:
        return read_json(_path(settings), _PID_FILE)
    except (OSError, ValueError):
        return None


def remove_pid_file(settings: Settings) -> None:
    """Remove the pid file if there is one."""
    _path(settings).unlink(missing_ok=True)


def running_urls(settings: Settings) -> dict[str, str] | None:
    """Addresses of the Dagster UI (`ui`) and of the page (`page`), or None when `strikecast up` is not running."""
    state = read_pid_file(settings)
    if state is None or not psutil.pid_exists(state["pid"]):
        return None
    return {"ui": printable(state["ui_url"]), "page": printable(state["page_url"])}


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants; empty when it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _path(settings: Settings) -> Path:
    return settings.home / "up.json"
