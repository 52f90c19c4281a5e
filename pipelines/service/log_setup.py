"""Our own logs: one JSON object a line in `logs/` of the home folder, readable words on the terminal.

Many processes write into the same files, each line in one write; each looks before it writes whether its file was
rotated away, so that rotation is a rename and loses nothing.
"""

import logging
from collections.abc import MutableMapping
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from pipelines.settings import default_home

COMMANDS = logging.getLogger("strikecast")


def _of_run(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Job and run of a line that a Dagster run wrote, and its words without Dagster's prefix."""
    record: logging.LogRecord = event["_record"]
    event["pid"] = record.process
    meta = getattr(record, "dagster_meta", None)
    if isinstance(meta, dict):
        event["event"] = meta.get("orig_message") or event["event"]
        event.update(job=meta.get("job_name"), run=meta.get("run_id"), step=meta.get("step_key"))
    return event


class JsonHandler(WatchedFileHandler):
    """Appends to a file that may be renamed at any time; its folder is made with the first line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        if self.formatter is None:
            self.formatter = _json_lines()
        return super().format(record)

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _json_lines() -> logging.Formatter:
    """Made with the first line: structlog takes a tenth of a second, and many commands say nothing."""
    import structlog

    before = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _of_run]
    after = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after)  # type: ignore[arg-type]


class RunHandler(JsonHandler):
    """What runs say, for `dagster.yaml`: the home folder is that of the environment."""

    def __init__(self) -> None:
        super().__init__(default_home() / "logs" / "runs.jsonl")


def log_commands(home: Path) -> None:
    """Let what commands say go to `logs/commands.jsonl`, too."""
    if not COMMANDS.handlers:
        COMMANDS.addHandler(JsonHandler(home / "logs" / "commands.jsonl"))
        COMMANDS.setLevel(logging.INFO)
        COMMANDS.propagate = False


def note(message: str, *, level: int = logging.INFO) -> None:
    """A line in the log of commands, once there is one."""
    if COMMANDS.handlers:
        COMMANDS.log(level, "%s", message)
