"""Every setting with its description, default, unit, range and names, from the model of the settings."""

import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.domain.maintenance.policies import limit_of

PREFIX = "STRIKECAST_"
#: In place of the names that the user chooses, such as that of a symbol.
ANY_NAME = "NAME"
#: By the last word of a setting's name.
UNITS = {
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "days": "days",
    "months": "months",
    "usd": "USD",
    "pct": "%",
    "bps": "bps",
    "megabytes": "MiB",
    "gibibytes": "GiB",
    "bytes": "bytes",
}
_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}


@dataclass(frozen=True)
class SettingField:
    """A setting; `default` is a JSON value, None without one. The description is that of the field's `#:` comment.

    `variable`: the environment variable, which is that of the table where the setting has none of its own.
    """

    key: tuple[str, ...]
    description: str
    default: Any
    unit: str
    range: str
    variable: str
    required: bool = False

    @property
    def name(self) -> str:
        """Name with its tables, such as `exchange.quote`."""
        return ".".join(self.key)


def variable_of(key: Sequence[str | int]) -> str:
    """Name of a setting's environment variable, such as STRIKECAST_EXCHANGE__QUOTE."""
    return PREFIX + "__".join(map(str, key)).upper()


def sections(model: type) -> dict[str, str]:
    """Description of each table of the settings."""
    described = comments(model)
    return {name: described[name] for name, kind in _kinds(model) if _parts(kind) is not None}


@cache
def setting_fields(model: type) -> tuple[SettingField, ...]:
    """The settings of a model and its sections, in their order."""
    return tuple(_fields(model, ()))


def _fields(model: type, at: tuple[str, ...]) -> Iterator[SettingField]:
    described = comments(model)
    for name, kind in _kinds(model):
        key, part = (*at, name), _parts(kind)
        if part is not None:
            yield from _fields(part, (*key, ANY_NAME) if _is_mapping(kind) else key)
            continue
        info, default = _info(model, name), _default(model, name)
        # pydantic-settings parses no JSON for a part of a dataclass that is not pydantic's.
        is_in_table = info is None and isinstance(default, tuple)
        yield SettingField(
            key,
            described.get(name, ""),
            None if default is MISSING else json_value(default),
            UNITS.get(name.rpartition("_")[2], ""),
            _range(model, name, kind, info),
            variable_of(at[: at.index(ANY_NAME)] if ANY_NAME in at else at if is_in_table else key),
            required=default is MISSING,
        )


def json_value(value: Any) -> Any:
    """A value for JSON; decimals as numbers, as they are written in TOML."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return TypeAdapter(Any).dump_python(value, mode="json")


def comments(model: type) -> dict[str, str]:
    """The `#:` comments of a class's fields and of those it inherits."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner.__module__.startswith("pipelines."):
            source = inspect.getsource(owner)
            for text, name in re.findall(r"((?:^    #: .*\n)+)^    (\w+):", source, re.MULTILINE):
                found[name] = " ".join(line.removeprefix("    #: ") for line in text.splitlines())
    return found


def _kinds(model: type) -> Iterator[tuple[str, Any]]:
    """Names and types of the fields that can be set."""
    if is_dataclass(model):
        hints = typing.get_type_hints(model)
        yield from ((field.name, hints[field.name]) for field in fields(model) if field.init)
    elif issubclass(model, BaseModel):
        yield from ((name, info.annotation) for name, info in model.model_fields.items())


def _info(model: type, name: str) -> FieldInfo | None:
    """Pydantic's facts of a field; None for a dataclass of the domain, which does not know pydantic."""
    known: Mapping[str, FieldInfo] = getattr(model, "__pydantic_fields__", {})
    return known.get(name)


def _default(model: type, name: str) -> Any:
    """The default of a field, None if it is computed, MISSING without one."""
    info = _info(model, name)
    if info is None:
        return next(field.default for field in fields(model) if field.name == name)
    if info.default_factory is not None:
        return None
    default = info.default
    if isinstance(default, FieldInfo):
        default = default.default
    return MISSING if default in (PydanticUndefined, Ellipsis) else default


def _is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) is dict


def _parts(kind: Any) -> type | None:
    """The class of a section, or of the sections of a mapping; None for a plain value."""
    if _is_mapping(kind):
        kind = typing.get_args(kind)[1]
    if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel)):
        return kind
    return None


def _range(model: type, name: str, kind: Any, info: FieldInfo | None) -> str:
    """The permitted values of a field, as far as its type and limits state them."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if bool in options:
        return "true, false"
    for option in options:
        if isinstance(option, type) and issubclass(option, Enum):
            return ", ".join(str(each.value) for each in option)
    limits = [
        text.format(f"{value:,}")
        for constraint in (info.metadata if info else ())
        for sign, text in _BOUNDS.items()
        if (value := getattr(constraint, sign, None)) is not None
    ]
    return ", ".join(limits) or limit_of(model, name)


def toml_value(value: Any) -> str:
    """A JSON value in TOML.

    >>> toml_value([{"max_age_days": 365.25, "weight": 5}]), toml_value(True), toml_value("a b")
    ('[{ max_age_days = 365.25, weight = 5 }]', 'true', '"a b"')
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
