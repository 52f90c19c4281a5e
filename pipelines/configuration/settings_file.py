"""The settings file: where it is, its text, and the line of each of its keys."""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import platformdirs

from pipelines.atomic_files import read_bounded
from pipelines.errors import SettingsError
from pipelines.protection.redaction import redact

CONFIG_FILE_VARIABLE = "STRIKECAST_CONFIG"
HOME_VARIABLE = "STRIKECAST_HOME"
#: PostgreSQL does not run as root, and its user cannot enter a folder in root's own.
ROOT_HOME = Path("/var/lib/strikecast")
#: 200 symbols take 12 kB; the slowest file of this size, one key of many parts, takes 4 s.
MOST_FILE_BYTES = 32_768
#: A value of several lines is parsed after each of them, which takes time that grows with the square of their number:
#: beyond this, about a second, the lines of what follows are not known.
MOST_PARSED_CHARACTERS = 1 << 20
#: Names of a setting from the outermost table to the key; the elements of an array by number.
Key = tuple[str | int, ...]


def default_home() -> Path:
    """STRIKECAST_HOME, or the user's data folder of the platform; ROOT_HOME for root, unless the former exists."""
    if named := os.environ.get(HOME_VARIABLE):
        return Path(named)
    users = platformdirs.user_data_path("strikecast")
    return ROOT_HOME if os.geteuid() == 0 and not users.exists() else users


def config_file() -> Path:
    """Path of the settings file, which may not exist."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    return Path(named).expanduser().absolute() if named else default_home() / "strikecast.toml"


def read_settings_file() -> str:
    """Text of the settings file; empty without one. Raises SettingsError when it is not a small file of text."""
    path = config_file()
    try:
        return read_bounded(path, MOST_FILE_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        if path.is_symlink():
            raise SettingsError(f"the settings file {path} is a link to a file that does not exist") from None
        return ""
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error


def exposed_credentials() -> str | None:
    """A warning that every user of the machine can read credentials in the settings file; None where none can.

    A credential is what messages hide, which they know once the settings are loaded. Raises SettingsError as
    `read_settings_file` does.
    """
    path, lines = config_file(), read_settings_file().split("\n")
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if redact(text) == text or not path.stat().st_mode & stat.S_IROTH:
        return None
    return f"{path} holds credentials, and every user of this machine may read it: run `chmod o-r {path}`"


def key_lines(text: str) -> dict[Key, int]:
    """The line of each table, key and element of a valid TOML text, counted from 1.

    >>> key_lines('feed = "replay"\n[exchange]\nurls = {\n  ws = "x" }\n')
    {('feed',): 1, ('exchange',): 2, ('exchange', 'urls'): 3, ('exchange', 'urls', 'ws'): 3}
    """
    found: dict[Key, int] = {}
    table: Key = ()
    prefix: Key
    unparsed = 0
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        statement += f"{line}\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:  # a value of several lines, up to its last one
            unparsed += len(statement)
            if unparsed > MOST_PARSED_CHARACTERS:
                break
            continue
        keys = list(_keys(parsed, ()))
        if statement.lstrip().startswith("["):
            table = keys[-1]
            while table in found and isinstance(table[-1], int):  # a further element of an array of tables
                table = (*table[:-1], table[-1] + 1)
            keys, prefix = [*keys[:-1], table], ()
        else:
            prefix = table
        for key in keys:
            found.setdefault((*prefix, *key), first)
        statement, first = "", number + 1
    return found


def _keys(value: object, at: Key) -> Iterator[Key]:
    pairs: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, Mapping):
        pairs = iter(value.items())
    elif isinstance(value, list):
        pairs = iter(enumerate(value))
    for name, each in pairs:
        yield (*at, name)
        yield from _keys(each, (*at, name))
