"""The effective settings, each with its source; secrets are hidden."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

from pipelines.configuration.fields import json_value
from pipelines.configuration.problems import Sources, dotted
from pipelines.configuration.settings_file import Key, read_settings_file
from pipelines.protection.redaction import redact
from pipelines.settings import Settings


class Source(StrEnum):
    """Where a value comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


@dataclass(frozen=True)
class EffectiveSetting:
    """A setting and its value as JSON; `variable`: of the environment, `line`: of the file, if it is the source."""

    name: str
    value: Any
    source: Source
    variable: str | None = None
    line: int | None = None


def effective_settings(settings: Settings) -> list[EffectiveSetting]:
    """All settings with their sources, in the order of docs/settings.md. Of a URL, scheme and host are shown."""
    sources = Sources(Settings, read_settings_file())
    values = settings.model_dump(mode="python")
    values["model"] = {name: value for name, value in settings.model.as_json().items() if name != "name"}
    return [_effective(key, value, sources) for key, value in _leaves(values, ())]


def _effective(key: Key, value: Any, sources: Sources) -> EffectiveSetting:
    name = dotted(key)
    if (variable := sources.variable(key)) is not None and sources.environment_gives(key):
        return EffectiveSetting(name, value, Source.ENVIRONMENT, variable=variable)
    if sources.file_gives(key):
        return EffectiveSetting(name, value, Source.FILE, line=sources.line(key))
    return EffectiveSetting(name, value, Source.DEFAULT)


def _leaves(value: Any, at: Key) -> Iterator[tuple[Key, Any]]:
    """Values that are no tables; an empty table is one."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _leaves(each, (*at, name))
    else:
        yield at, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return redact(value.get_secret_value())
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, Decimal)):
        return json_value(value)
    return redact(str(value))
