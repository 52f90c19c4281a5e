"""Condense the output of a process: no colour codes, no copies, no tracebacks of a lost database or of a known failure.

A failure is written when it begins. While it repeats, it is counted, and the count is written when it is over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: What a terminal would take as a command, such as a colour.
TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
#: The first line of an entry: lines between two of them belong together.
BEGINNING = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|Exception (?:in|while)\b|"
    r"error connecting in "
)
FAILURE = re.compile(
    r"(?:\S+ \S+ \S+ - \S+ - )?(?:WARNING|ERROR|CRITICAL)\b|Exception (?:in|while)\b|error connecting in "
)
#: Dagster's retries call `logging.warning`, which gives the root logger a handler: from then on each line of its
#: loggers is written a second time, without the time.
COPY = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):dagster[\w.]*:")
TRACEBACK = ("Traceback (most recent call last):", "Stack Trace:")
#: How psycopg, SQLAlchemy, Dagster and strikecast report that the server cannot be used.
LOST_DATABASE = re.compile(
    r"connection to server at|server closed the connection|terminating connection|the database system is |"
    r"too many retries for DB connection|lost the database|cannot use the database"
)
#: In the first line of an alert, which reports a change by itself.
ALERT = " - strikecast: "
#: What differs between two occurrences of one failure: times, process ids, addresses, ids of runs.
VARIABLE = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|0x[0-9a-f]+|\d+")
MAX_LINES = 1_000
#: An entry without a further line is complete after so long.
ENTRY_SECONDS = 1.0
#: A failure is over when it has not occurred for so long; one that goes on is written again after a longer time.
QUIET_SECONDS = 60.0
AGAIN_SECONDS = 600.0


@dataclass
class _Repeated:
    began_at: float
    last_at: float
    title: str
    count: int = 0


class LogEntries:
    """Takes the lines of an output, and returns those to write. Instants are by the monotonic clock."""

    def __init__(self) -> None:
        self._entry: list[str] = []
        self._taken_at = 0.0
        self._repeated: dict[int, _Repeated] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether `pause` has something to return, now or later."""
        return bool(self._entry or self._repeated)

    def take(self, line: str, now: float) -> list[str]:
        """The lines to write once `line` is known."""
        line = TERMINAL_CODES.sub("", line)
        self._taken_at = now
        if self._continues(line):
            self._entry.append(line)
            return self._finish(now) if len(self._entry) >= MAX_LINES else []
        before = self._finish(now)
        if COPY.match(line) or (FAILURE.match(line) and ALERT not in line) or line.startswith(TRACEBACK):
            self._entry = [line]
            return before
        return [*before, line]

    def pause(self, now: float) -> list[str]:
        """The lines to write when nothing was taken for a while: an entry that is complete, failures that are over."""
        lines = self._finish(now) if now - self._taken_at >= ENTRY_SECONDS else []
        over = [
            key
            for key, one in self._repeated.items()
            if now - one.last_at >= QUIET_SECONDS or now - one.began_at >= AGAIN_SECONDS
        ]
        return [*lines, *self._counts(over)]

    def end(self, now: float) -> list[str]:
        """The lines to write at the end of the output."""
        return [*self._finish(now), *self._counts(list(self._repeated))]

    def _counts(self, keys: Sequence[int]) -> list[str]:
        ended = [self._repeated.pop(key) for key in keys]
        return [
            f"({one.count:,} more within {one.last_at - one.began_at:.0f} s: {one.title})" for one in ended if one.count
        ]

    def _finish(self, now: float) -> list[str]:
        """End the current entry; the lines to write of it."""
        entry, self._entry = self._entry, []
        if entry and COPY.match(entry[0]):
            return []
        text = "\n".join(entry)
        is_lost_database = LOST_DATABASE.search(text) is not None
        if not is_lost_database and not any(line.strip().startswith(TRACEBACK) for line in entry):
            return entry
        title, key = entry[0], hash(VARIABLE.sub("", text))
        if is_lost_database:
            cause = next(line for line in entry if LOST_DATABASE.search(line)).strip()
            entry = [title if cause == title.strip() else f"{title} ({cause})"]
            title, key = "messages about the lost connection to the database", 0
        known = self._repeated.get(key)
        if known is not None:
            known.count += 1
            known.last_at = now
            return []
        self._repeated[key] = _Repeated(now, now, title)
        return entry

    def _continues(self, line: str) -> bool:
        if not self._entry or BEGINNING.match(line):
            return False
        if not line.startswith(TRACEBACK[0]):
            return True
        previous = next((each for each in reversed(self._entry) if each.strip()), "")
        is_cause = previous.endswith(":")
        return is_cause or not any(each.startswith(TRACEBACK) for each in self._entry)
