"""A settings file in which every setting is commented out with its default."""

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap

from pipelines.configuration.fields import ANY_NAME, SettingField, sections, setting_fields, toml_value
from pipelines.settings import Settings

WIDTH = 100
HEADING = """\
# Settings of strikecast. What is commented out has its default; the environment takes precedence over this file.
# All settings are described in docs/settings.md; `strikecast config check` checks this file."""


def settings_template() -> str:
    """The text of the file: valid as it is, and with the `#` removed from every line that has a default."""
    described = sections(Settings)
    lines = [HEADING]
    for table, fields in groupby(setting_fields(Settings), lambda field: field.key[:-1]):
        if table:
            header = f"[{'.'.join(table)}]"
            lines += ["", *_comment(described[table[0]]), f"#{header}" if ANY_NAME in table else header]
        for field in fields:
            lines += ["", *_comment(_sentence(field)), _assignment(field)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def _sentence(field: SettingField) -> str:
    """Description of a setting, with its unit and range."""
    facts = ", ".join(filter(None, (field.unit, field.range)))
    return f"{field.description} ({facts})" if facts else field.description


def _assignment(field: SettingField) -> str:
    """`#name = default`; without the value where there is no default, which is not valid until one is written."""
    if field.default is None:
        return f"#{field.key[-1]} ="
    return f"#{field.key[-1]} = {toml_value(field.default)}"
