"""A log names a failure when it begins and when it is over, and holds no colour codes."""

from itertools import count

import pytest

from pipelines.maintenance.log_entries import AGAIN_SECONDS, MAX_LINES, QUIET_SECONDS, LogEntries

RETRY = [
    'WARNING:root:Retrying failed database connection: (psycopg2.OperationalError) connection to server at "::1" failed',
    "\tIs the server running on that host and accepting TCP/IP connections?",
    "",
    "(Background on this error at: https://sqlalche.me/e/20/e3q8)",
]
SENSOR = "2026-11-29 10:56:11 +0000 - dagster.daemon.SensorDaemon - ERROR - Sensor daemon caught an error"
INFO = "2026-11-29 10:56:11 +0000 - dagster.daemon.SensorDaemon - INFO - Checking for new runs"


def traceback_of(error: str) -> list[str]:
    return ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    g()", error]


def taken(entries: LogEntries, lines: list[str], start: float = 0.0, step: float = 0.0) -> list[str]:
    return [text for line, number in zip(lines, count()) for text in entries.take(line, start + number * step)]


def test_other_lines_are_written_at_once_and_unchanged() -> None:
    entries = LogEntries()
    lines = ["a line", "  another", "", INFO, INFO, "INFO:     127.0.0.1 GET /"]
    assert taken(entries, lines) == lines
    assert not entries.is_waiting


def test_a_lost_database_is_one_line_when_it_begins_and_one_when_it_is_over() -> None:
    entries = LogEntries()
    cause = [*traceback_of('psycopg2.OperationalError: connection to server at "::1" failed'), ""]
    chained = [*cause, "The above exception was the direct cause of the following exception:", "", *cause]
    lines = [*RETRY, *RETRY, SENSOR, *chained, *RETRY, INFO] * 40
    written = taken(entries, lines, step=0.1)
    assert [line for line in written if line != INFO] == [RETRY[0]]
    assert written.count(INFO) == 40, "the other entries stay"
    ended = len(lines) * 0.1
    assert entries.pause(ended + 5) == []
    (over,) = entries.pause(ended + QUIET_SECONDS)
    assert over.startswith("(159 more within ")
    assert over.endswith("messages about the lost connection to the database)")
    assert not entries.is_waiting
    assert taken(entries, [*RETRY, INFO], start=ended + 100) == [RETRY[0], INFO], "the next one is written again"


def test_a_lost_database_within_a_traceback_is_named_beside_the_first_line() -> None:
    entries = LogEntries()
    assert taken(
        entries, [SENSOR, *traceback_of("DagsterPostgresException: too many retries for DB connection"), INFO]
    ) == [
        f"{SENSOR} (DagsterPostgresException: too many retries for DB connection)",
        INFO,
    ]


def test_another_failure_is_written_whole_once_and_then_counted() -> None:
    entries = LogEntries()
    failure = [SENSOR, *traceback_of("KeyError: 'a'")]
    later = [line.replace("10:56:11", "10:57:42").replace("line 1", "line 1") for line in failure]
    other = [SENSOR, *traceback_of("ValueError: b")]
    assert taken(entries, [*failure, *later, *failure, *other, INFO]) == [*failure, *other, INFO]
    assert [line for line in entries.pause(QUIET_SECONDS) if line.startswith("(2 more within ")]


def test_a_failure_that_goes_on_is_written_again_after_ten_minutes() -> None:
    entries = LogEntries()
    failure = [SENSOR, *traceback_of("KeyError: 'a'"), INFO]
    written = []
    for second in range(0, int(AGAIN_SECONDS) + 11, 10):
        written += taken(entries, failure, start=second)
        written += entries.pause(second)
    assert written.count("KeyError: 'a'") == 2


def test_dagsters_errors_are_one_entry_with_all_their_causes() -> None:
    entries = LogEntries()
    cause = "The above exception was caused by the following exception:"
    stack = ["", "Stack Trace:", '  File "a.py", line 1, in f', ""]
    lost = [SENSOR, "DagsterError: step failed", *stack, cause, "ServerUnavailableError: lost the database", *stack]
    assert taken(entries, [*lost, *lost, INFO]) == [f"{SENSOR} (ServerUnavailableError: lost the database)", INFO]


def test_copies_of_dagsters_lines_are_dropped() -> None:
    copies = [
        "INFO:dagster.daemon.SensorDaemon:Checking for new runs",
        "ERROR:dagster:failed",
        *traceback_of("KeyError: 1"),
    ]
    assert taken(LogEntries(), [INFO, *copies, INFO, "INFO:     127.0.0.1 GET /"]) == [
        INFO,
        INFO,
        "INFO:     127.0.0.1 GET /",
    ]


def test_warnings_without_a_traceback_are_all_written() -> None:
    entries = LogEntries()
    lines = [SENSOR, "its second line"] * 3
    assert [*taken(entries, lines), *entries.end(0.0)] == lines


def test_alerts_are_written_although_they_name_the_database() -> None:
    alert = (
        "2026-11-29 10:56:15 +0000 - dagster - WARNING - watchdog - strikecast: critical: file BTC: lost the database"
    )
    lines = [*RETRY, alert, "Since 10:56 UTC."] * 2
    assert taken(LogEntries(), lines) == [RETRY[0], alert, "Since 10:56 UTC.", alert, "Since 10:56 UTC."]


def test_an_entry_is_written_after_a_pause_and_a_long_one_in_parts() -> None:
    entries = LogEntries()
    failure = traceback_of("KeyError: 'a'")
    assert taken(entries, failure) == []
    assert entries.pause(0.5) == []
    assert entries.pause(1.0) == failure
    long = [SENSOR, *(f"line {number}" for number in range(2 * MAX_LINES))]
    assert [*taken(entries, long), *entries.end(0.0)] == long


@pytest.mark.parametrize(
    "text",
    ["\x1b[32m2026\x1b[0m - \x1b[1;34mINFO\x1b[m", "\x1b]0;title\x072026 - INFO", "\x1b[2J\x1b[H2026 - INFO\x1bM"],
)
def test_colour_codes_are_removed(text: str) -> None:
    assert taken(LogEntries(), [text]) == ["2026 - INFO"]
