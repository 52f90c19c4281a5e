"""Errors that strikecast raises deliberately.

StrikecastError
├── SettingsError
├── DatabaseError
│   ├── ServerUnavailableError
│   ├── SchemaVersionError
│   ├── ReplicaLagError
│   └── ReadCancelledError
├── PriceFileError
├── FingerprintFileError
├── NoDataError
├── StateError
├── FeedError
├── MarketError
├── BackupError
├── SharedFilesError
├── BuildError
├── AlreadyRunningError
└── SupersededError

A message is one line: what failed, what was observed, what was expected, and what to do. It may quote files, exchanges
and other programs: it is made printable and bounded here, so that no caller can forget it.
"""

import traceback

from pipelines.protection.redaction import redact

#: Maximum length of a message, in characters.
MAX_MESSAGE = 1_000


def escaped(text: str) -> str:
    """A text with a backslash escape for each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def printable(text: str, length: int = MAX_MESSAGE) -> str:
    r"""Text from anywhere, safe to show in a terminal, a log or an alert.

    Control characters, line breaks, marks that reverse the order of writing, and bytes that were no text become
    backslash escapes. Of a text longer than `length` characters, the beginning and the end stay.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    >>> printable("0123456789" * 10, length=20)
    '01234567 ... 3456789'
    """
    if len(text) > length:  # escapes only lengthen it
        text = f"{text[:length]}{text[-length:]}"
    text = escaped(text)
    if len(text) <= length:
        return text
    kept = length - len(" ... ")
    return f"{text[: kept - kept // 2]} ... {text[len(text) - kept // 2 :]}"


def single_line(text: str, length: int = MAX_MESSAGE) -> str:
    """A message of another program on one line, without repeated white space and credentials; see `printable`."""
    if len(text) > 20 * length:  # what is in the middle is left out in any case
        text = f"{text[: 10 * length]} {text[-10 * length :]}"
    return printable(redact(" ".join(text.split())), length)


class StrikecastError(Exception):
    """Base of all errors that a user can act upon; the command line prints it without a traceback.

    Its message contains no credentials: it may be logged, stored, and written to the probability files.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(single_line(message))


class SettingsError(StrikecastError):
    """A setting is missing, unknown or out of range."""


class DatabaseError(StrikecastError):
    """The database cannot be used."""


class ServerUnavailableError(DatabaseError):
    """No server answers, or it accepts no connections yet."""


class SchemaVersionError(DatabaseError):
    """The database's schema is older or newer than this code."""


class ReplicaLagError(DatabaseError):
    """A replica has not replayed what a read needs."""


class ReadCancelledError(DatabaseError):
    """A replica cancelled a read that conflicted with what it had to replay; the same read may succeed."""


class PriceFileError(StrikecastError):
    """A price file cannot be read as one-minute bars."""


class FingerprintFileError(StrikecastError):
    """A fingerprint file does not have the exported format."""


class NoDataError(StrikecastError):
    """The requested data has not been built or stored yet."""


class StateError(StrikecastError):
    """A session's or the alerts' state cannot be stored or read."""


class FeedError(StrikecastError):
    """A price source does not deliver, or delivers invalid prices."""


class MarketError(StrikecastError):
    """An exchange's markets cannot be requested or understood, or contradict themselves."""


class BackupError(StrikecastError):
    """A backup cannot be made, is damaged, or cannot be restored."""


class SharedFilesError(StrikecastError):
    """The shared place cannot be reached, or a file cannot be stored in it or read from it."""


class BuildError(StrikecastError):
    """A build failed, or its result violates an invariant."""


class AlreadyRunningError(StrikecastError):
    """Another process holds an exclusive lock."""


class SupersededError(StrikecastError):
    """Another live session or run has taken over; this one must not write any more."""


def place_of(error: BaseException) -> str:
    """Function, line and file where an unexpected exception was raised, for a log that has no traceback."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}, line {frame.lineno} of {frame.filename}"
