"""The reference page and the file of `config init` agree with the model of the settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.configuration.fields import (
    ANY_NAME,
    PREFIX,
    SettingField,
    json_value,
    sections,
    setting_fields,
    variable_of,
)
from pipelines.configuration.template import settings_template
from pipelines.settings import Settings, check_settings, load_settings

DOCS = Path(__file__).parents[3] / "docs"
FIELDS = setting_fields(Settings)
PLAIN = [field for field in FIELDS if ANY_NAME not in field.key]


def value_of(settings: Settings, field: SettingField) -> Any:
    value: Any = settings.model_dump(mode="python")
    for part in field.key:
        value = value[part]
    return json_value(value)


def test_the_committed_page_is_the_generated_one() -> None:
    script = [sys.executable, DOCS / "settings_reference.py"]
    generated = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert (DOCS / "settings.md").read_text() == generated, "regenerate it: make reference"


def test_every_setting_and_every_table_is_described() -> None:
    assert len(FIELDS) > 80
    assert [field.name for field in FIELDS if not re.match(r"[A-Z`].*[.]$", field.description)] == []
    assert all(text.endswith(".") for text in sections(Settings).values())


def test_every_default_is_that_of_the_settings() -> None:
    settings = load_settings()
    computed = {"home", "exchange.urls"}
    assert {field.name: field.default for field in PLAIN if field.name not in computed} == {
        field.name: value_of(settings, field) for field in PLAIN if field.name not in computed
    }


@pytest.mark.parametrize("field", [field for field in PLAIN if field.default is not None], ids=lambda field: field.name)
def test_every_environment_variable_sets_its_setting(field: SettingField, monkeypatch: pytest.MonkeyPatch) -> None:
    default: Any = field.default
    if field.variable != variable_of(field.key):
        default = {field.key[-1]: default}
    text = default if isinstance(default, str) else json.dumps(default)
    monkeypatch.setenv(field.variable, text)
    assert value_of(load_settings(), field) == field.default
    monkeypatch.setenv(field.variable, "\x01")
    found = check_settings()
    assert isinstance(found, list)
    assert field.variable in found[0] or field.key[0] in found[0]


LIMITED = [(field, limit) for field in PLAIN for limit in field.range.split(", ") if re.search(r"\d", limit)]


@pytest.mark.parametrize(("field", "limit"), LIMITED, ids=lambda value: getattr(value, "name", value))
def test_every_limit_in_the_reference_is_enforced(
    field: SettingField, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = float(re.sub(r"[^\d.]", "", limit))
    step = 1 if isinstance(field.default, int) or field.default is None else 0.01
    accepted, refused = {
        "more than": (bound + step, bound),
        "at most": (bound, bound + step),
    }.get(" ".join(limit.split()[:2]), (bound, bound - step))
    for value, valid in ((accepted, True), (refused, False)):
        monkeypatch.setenv(field.variable, str(value if isinstance(step, float) else int(value)))
        assert isinstance(check_settings(), Settings) == valid, (field.variable, value)


def settings_of(text: str) -> Settings:
    file = Path(os.environ[f"{PREFIX}HOME"]) / "strikecast.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return load_settings()


def test_the_file_of_config_init_changes_nothing() -> None:
    assert settings_of(settings_template()) == settings_of("")


def test_the_file_of_config_init_without_the_comment_signs_has_all_defaults() -> None:
    active = re.sub(r"^#(?=\w+ = .)", "", settings_template(), flags=re.MULTILINE).replace(
        "#[symbols.NAME]\n", "[symbols.BTC]\n"
    )
    active = re.sub(r"^series = .*\n", "", active, flags=re.MULTILINE)  # BTC has one of its own
    assert len(re.findall(r"^\w+ = ", active, re.MULTILINE)) > 60
    assert settings_of(active) == settings_of("")
