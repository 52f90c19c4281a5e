"""Every error that strikecast raises on purpose.

StrikecastError
├── SettingsError         a setting is missing, unknown or out of range
├── DatabaseError         the database cannot be used
│   ├── ServerUnavailableError   no server answers, or it is not ready
│   └── SchemaVersionError       the schema is older or newer than the code
├── PriceFileError        a price file cannot be read as one
├── FingerprintFileError  a fingerprint file is not in the exported shape
├── NoDataError           what was asked for has not been built or stored yet
├── StateError            a session's state cannot be stored as it is
├── FeedError             a price source does not deliver
├── BackupError           a backup cannot be made, is damaged, or does not restore
├── BuildError            a build cannot go on, or its result broke an invariant
├── SupersededError       another session has taken over
└── AlreadyRunningError   another process holds what may exist only once

A message says what failed, what was observed, what was expected and what to do, in one line.
"""


def single_line(text: str) -> str:
    """A text of someone else's on one line, without what would steer a terminal."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


class StrikecastError(Exception):
    """Base of all errors that a user can act upon; the command line prints it without a traceback."""


class SettingsError(StrikecastError):
    """A setting is missing, unknown or out of range."""


class DatabaseError(StrikecastError):
    """The database cannot be used."""


class ServerUnavailableError(DatabaseError):
    """No server answers, or it is not ready for connections."""


class SchemaVersionError(DatabaseError):
    """The database's schema is older or newer than this code."""


class PriceFileError(StrikecastError):
    """A price file cannot be read as one-minute bars."""


class FingerprintFileError(StrikecastError):
    """A fingerprint file is not in the exported shape."""


class NoDataError(StrikecastError):
    """What was asked for has not been built or stored yet."""


class StateError(StrikecastError):
    """A session's state holds what cannot be stored, or lacks a field."""


class FeedError(StrikecastError):
    """A price source does not deliver, or delivers what is no price."""


class BackupError(StrikecastError):
    """A backup could not be made, is damaged, or does not restore to what it was."""


class BuildError(StrikecastError):
    """A build cannot go on, or its result broke an invariant."""


class AlreadyRunningError(StrikecastError):
    """Another process holds what may exist only once."""


class SupersededError(StrikecastError):
    """Another session has taken over; this one may not write any more."""
