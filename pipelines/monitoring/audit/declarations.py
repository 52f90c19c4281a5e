"""Declared targets and explanations of findings: `targets.toml` and `findings.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.domain.monitoring.audit.findings import Finding
from pipelines.domain.monitoring.audit.targets import Target


@cache
def targets() -> tuple[Target, ...]:
    """The declared service targets."""
    return parse_targets(_read("targets.toml")["target"])


@cache
def explanations() -> dict[str, Finding]:
    """Findings without evidence by kind of detection; a missed target is of the kind `target TITLE`."""
    declared = _read("findings.toml")
    for target in _read("targets.toml")["target"]:
        explanation = {"title": f"missed: {target['title']}", "severity": target["severity"], "area": target["area"]}
        declared[f"target {target['title']}"] = target["advice"] | explanation
    defaults = {"area": "database", "evidence": ""}
    complete = {kind: {"key": kind, **defaults, **texts} for kind, texts in declared.items()}
    return TypeAdapter(dict[str, Finding]).validate_python(complete)


def parse_targets(entries: Sequence[Mapping[str, Any]]) -> tuple[Target, ...]:
    """Targets from the tables of a TOML file. Raises ValueError that names the invalid one."""
    adapter, found = TypeAdapter(Target), []
    for entry in entries:
        raw = {name: value for name, value in entry.items() if name != "advice"}
        bounds = [kind for kind in ("below", "at_least") if kind in raw]
        if len(bounds) != 1:
            raise ValueError(f"{raw.get('title')}: expected either below or at_least, found {bounds}")
        raw |= {"upper": bounds[0] == "below", "bound": raw.pop(bounds[0]), "name": raw.pop("measurement", None)}
        try:
            found.append(adapter.validate_python(raw))
        except ValidationError as error:
            problems = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
            raise ValueError(f"{raw.get('title')}: {problems}") from error
    if len({target.check for target in found}) < len(found):
        raise ValueError("two targets have the same title")
    return tuple(found)


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("pipelines.monitoring.audit").joinpath(name).read_text(encoding="utf-8"))
