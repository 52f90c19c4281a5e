"""The registry finds models by importing the package's modules."""

import sys
from types import ModuleType

import pytest

from pipelines.domain.models import registry
from pipelines.domain.models.momentum import ClimatologyModel

MODELS = ["climatology", "momentum", "normal", "standardised", "student_t"]


def test_the_registry_finds_every_model_and_lists_them_in_its_error() -> None:
    assert list(registry.all_models()) == MODELS
    with pytest.raises(ValueError, match="there is no model 'oracle'; there are climatology, momentum"):
        registry.model_named("oracle")


def test_a_new_module_is_enough_to_add_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Oracle(ClimatologyModel):
        name = "oracle"

    name = "pipelines.domain.models.oracle"
    module = ModuleType(name)
    module.__dict__["Oracle"] = Oracle
    monkeypatch.setitem(sys.modules, name, module)
    found = [*registry.pkgutil.iter_modules(registry.models.__path__, f"{registry.models.__name__}.")]
    added = registry.pkgutil.ModuleInfo(found[0].module_finder, name, ispkg=False)
    monkeypatch.setattr(registry.pkgutil, "iter_modules", lambda *_: [*found, added])
    registry.all_models.cache_clear()
    try:
        assert registry.model_named("oracle").name == "oracle"
        assert len(registry.all_models()) == len(MODELS) + 1
    finally:
        registry.all_models.cache_clear()
