"""Errors that strikecast raises deliberately.

StrikecastError
├── SettingsError
├── DatabaseError
│   ├── ServerUnavailableError
│   └── SchemaVersionError
├── PriceFileError
├── FingerprintFileError
├── NoDataError
├── StateError
├── FeedError
├── BackupError
├── BuildError
├── AlreadyRunningError
└── SupersededError

A message is one line: what failed, what was observed, what was expected, and what to do.
"""


class StrikecastError(Exception):
    """Base of all errors that a user can act upon; the command line prints it without a traceback."""


class SettingsError(StrikecastError):
    """A setting is missing, unknown or out of range."""


class DatabaseError(StrikecastError):
    """The database cannot be used."""


class ServerUnavailableError(DatabaseError):
    """No server answers, or it accepts no connections yet."""


class SchemaVersionError(DatabaseError):
    """The database's schema is older or newer than this code."""


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


class BackupError(StrikecastError):
    """A backup cannot be made, is damaged, or cannot be restored."""


class BuildError(StrikecastError):
    """A build failed, or its result violates an invariant."""


class AlreadyRunningError(StrikecastError):
    """Another process holds an exclusive lock."""


class SupersededError(StrikecastError):
    """Another live session has taken over; this one must not write any more."""


def single_line(text: str) -> str:
    """Collapse white space and drop control characters, to print text from another program on one line."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
