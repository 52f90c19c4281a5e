"""JSON logs in `logs/` of the home folder, one object a line; the terminal gets plain text.

Many processes append to the same files, each line in one write. Before each write a process checks whether its file
was renamed, so that rotation by renaming loses no line.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from pipelines.configuration.settings_file import default_home
from pipelines.protection.redaction import redact

#: The messages of commands; discarded until `open_command_log`.
command_log = logging.getLogger("strikecast")
command_log.addHandler(logging.NullHandler())
command_log.setLevel(logging.INFO)
command_log.propagate = False


def open_command_log(home: Path) -> None:
    """Write the messages of commands to `logs/commands.jsonl` from now on."""
    if not any(isinstance(handler, JsonHandler) for handler in command_log.handlers):
        command_log.addHandler(JsonHandler(home / "logs" / "commands.jsonl"))


class JsonHandler(WatchedFileHandler):
    """Append records as JSON to a file that may be renamed at any time; the first record creates its folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as JSON, without credentials."""
        if self.formatter is None:
            self.formatter = _json_formatter()
        return redact(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record; an error of reopening the file is handled like one of writing."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Drop a record that cannot be written, as on a full disk, without a traceback on the terminal."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)
        broken, self.stream = self.stream, None  # its buffer must not be written later
        with suppress(OSError):
            if broken is not None:
                broken.close()

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


class RunHandler(JsonHandler):
    """Append the messages of Dagster runs to `logs/runs.jsonl`; named in `dagster.yaml`."""

    def __init__(self) -> None:
        super().__init__(default_home() / "logs" / "runs.jsonl")


def _json_formatter() -> logging.Formatter:
    """Called for the first record: importing structlog takes a tenth of a second, and many commands log nothing."""
    import structlog

    before = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _add_run]
    after = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after)  # type: ignore[arg-type]


def _add_run(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the pid, and for a message of a Dagster run its job, run and step instead of Dagster's prefix."""
    record: logging.LogRecord = event["_record"]
    event["pid"] = record.process
    meta = getattr(record, "dagster_meta", None)
    if isinstance(meta, dict):
        event["event"] = meta.get("orig_message") or event["event"]
        event.update(job=meta.get("job_name"), run=meta.get("run_id"), step=meta.get("step_key"))
    return event
