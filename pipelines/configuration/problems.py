"""Problems with the settings: the line of the file or the environment variable, and what is expected."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from pipelines.configuration.fields import ANY_NAME, setting_fields, variable_of
from pipelines.configuration.settings_file import Key, config_file, key_lines

#: Of a number and a text in the settings.
MOST_NUMBER, MOST_CHARACTERS = 1e12, 4_096
#: More problems than these are counted.
MOST_PROBLEMS = 50
#: Pydantic's errors for a name that it does not know, of a model and of a dataclass.
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}


class UnusableValuesError(ValueError):
    """Values that no setting may have, whatever its type, each with its key."""

    def __init__(self, values: list[tuple[Key, str]]) -> None:
        super().__init__("; ".join(f"{dotted(key)}: {text}" for key, text in values[:5]))
        self.values = values


def dotted(key: Key) -> str:
    """A key as in a TOML file, such as `exchange.quote`."""
    return ".".join(map(str, key))


def unusable_values(value: object, at: Key = ()) -> Iterator[tuple[Key, str]]:
    """What no setting may be, whatever its type: texts with control characters, numbers beyond any meaning."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from unusable_values(each, (*at, str(name)))
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from unusable_values(each, (*at, number))
    elif isinstance(value, str) and not (value.isprintable() and len(value) <= MOST_CHARACTERS):
        yield at, f"a text of at most {MOST_CHARACTERS:,} printable characters is expected"
    elif isinstance(value, (int, float)) and not abs(value) <= MOST_NUMBER:
        yield at, f"a number of at most {MOST_NUMBER:g} is expected"


def invalid_toml(error: tomllib.TOMLDecodeError) -> str:
    """A file that is not TOML, with the line."""
    text = str(error)
    place = re.search(r" \(at line (\d+), column (\d+)\)$", text)
    if place is None:  # at the end of the file
        return f"{config_file()}: {text}"
    return f"{config_file()}:{place[1]}: {text[: place.start()]}, column {place[2]}"


def problems_of(error: ValidationError, model: type[BaseSettings], text: str) -> list[str]:
    """Every problem that pydantic found with the environment and the settings file, whose text is given."""
    sources = Sources(model, text)
    found = []
    for each in error.errors(include_url=False, include_input=False):
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, UnusableValuesError):
            found += [f"{sources.place(key)}{dotted(key)}: {said}" for key, said in cause.values]
        elif each["type"] in _UNKNOWN:
            found.append(f"{sources.place(each['loc'])}unknown setting {_suggestion(each['loc'], model)}")
        else:
            said = ": ".join(filter(None, (dotted(each["loc"]), each["msg"].removeprefix("Value error, "))))
            found.append(f"{sources.place(each['loc'])}{said}")
    hidden = len(found) - MOST_PROBLEMS
    return found if hidden <= 0 else [*found[:MOST_PROBLEMS], f"and {hidden} further problems"]


class Sources:
    """Where each value comes from: the environment, which takes precedence, or a line of the settings file."""

    def __init__(self, model: type[BaseSettings], text: str) -> None:
        self._environment = EnvSettingsSource(model)()
        self._file = tomllib.loads(text)
        self._lines = key_lines(text)
        self._path = config_file()

    def variable(self, key: Key) -> str | None:
        """The environment variable that gives a value, or the table that lacks it; None if the file does."""
        depth = _depth(self._environment, key)
        if depth == 0 or depth < _depth(self._file, key):
            return None
        names = {name.upper() for name in os.environ}
        return next((name for n in range(len(key), 0, -1) if (name := variable_of(key[:n])) in names), None)

    def line(self, key: Key) -> int | None:
        """The line of a value in the file, or of the table that lacks it; None if the file has neither."""
        return next((self._lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self._lines), None)

    def environment_gives(self, key: Key) -> bool:
        """Whether the environment has the value itself."""
        return _depth(self._environment, key) == len(key)

    def file_gives(self, key: Key) -> bool:
        """Whether the file has the value itself."""
        return _depth(self._file, key) == len(key)

    def place(self, key: Key) -> str:
        """Beginning of a message about a value: its variable, or the file and the line."""
        if (name := self.variable(key)) is not None:
            return f"{name}: "
        line = self.line(key)
        return "" if line is None else f"{self._path}:{line}: "


def _depth(values: Any, key: Key) -> int:
    """How many names of a key, from the outermost on, exist in nested values."""
    for depth, name in enumerate(key):
        is_element = isinstance(values, list) and isinstance(name, int) and name < len(values)
        if not is_element and not (isinstance(values, Mapping) and name in values):
            return depth
        values = values[name]
    return len(key)


def _suggestion(key: Key, model: type[BaseSettings]) -> str:
    """An unknown key, and the known one that is most like it: of the same table, or else of another."""
    table, name = key[:-1], str(key[-1])
    unknown = f'"{dotted(key)}"'
    known = [field.key for field in setting_fields(model)]
    pattern = [ANY_NAME if table[:1] == ("symbols",) and at == 1 else part for at, part in enumerate(table)]
    siblings = {one[len(table)] for one in known if list(one[: len(table)]) == pattern and len(one) > len(table)}
    elsewhere = {one[-1]: one for one in known if ANY_NAME not in one}
    if name not in elsewhere and (near := get_close_matches(name, sorted(siblings), 1)):
        return f'{unknown}; did you mean "{dotted((*table, near[0]))}"?'
    if near := get_close_matches(name, sorted(elsewhere), 1):
        return f'{unknown}; did you mean "{dotted(elsewhere[near[0]])}"?'
    return f"{unknown}; `strikecast config show` lists the known ones"


def nearest_variable(name: str, model: type[BaseSettings], others: Collection[str]) -> str:
    """The known environment variable that is most like an unknown one, as the end of a message."""
    known = {field.variable for field in setting_fields(model)} | set(others)
    near = get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else "; `strikecast config show` lists the known settings"
