"""Registry of the models defined in this package."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from pipelines.domain import models
from pipelines.domain.models.base import Model


@cache
def all_models() -> Mapping[str, Model]:
    """Every model by name, in alphabetical order."""
    found: dict[str, Model] = {}
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member, Model) and not inspect.isabstract(member):
                found[member.name] = member()
    return MappingProxyType(dict(sorted(found.items())))


def model_named(name: str) -> Model:
    """A model by name. Raises ValueError that lists the known names."""
    try:
        return all_models()[name]
    except KeyError:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(all_models())}") from None
