"""Rules for the source code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.storage.postgres.statements import Statements

ROOT = Path(__file__).parents[2]
SQL = re.compile(
    r"^\s*(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TABLE|VIEW|INDEX)|ALTER TABLE|DROP |COPY \S+ )",
    re.DOTALL,
)


def python_files() -> Iterator[Path]:
    for folder in ("pipelines", "assets", "tests", "benchmarks"):
        yield from (ROOT / folder).rglob("*.py")


def test_python_files_are_found() -> None:
    assert len(list(python_files())) > 60


@pytest.mark.parametrize("suffix", ["py", "sql", "sh"])
def test_no_file_is_over_400_lines(suffix: str) -> None:
    files = [
        path
        for folder in ("pipelines", "assets", "tests", "benchmarks")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    ]
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 400] == []


def test_no_module_defers_annotations_because_dagster_evaluates_them() -> None:
    statement = "from __future__ import " + "annotations"
    assert [str(path) for path in python_files() if statement in path.read_text()] == []


def strings(tree: ast.Module) -> Iterator[str]:
    """String constants besides docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_python_module_contains_sql() -> None:
    found = [
        f"{path.name}: {text[:40]}"
        for folder in ("pipelines", "assets")
        for path in (ROOT / folder).rglob("*.py")
        for text in strings(ast.parse(path.read_text()))
        if SQL.match(text)
    ]
    assert found == []


def test_every_named_statement_is_used_by_its_repository() -> None:
    """A statement `x` is used as `SQL["x"]`, or its name is passed to a function of the repository."""
    files = [path for path in (ROOT / "pipelines").rglob("*.sql") if "migrations" not in path.parts]
    assert len(files) > 15
    migrations = (ROOT / "pipelines" / "storage" / "migrations" / "run.py").read_text()
    unused = []
    for path in files:
        module = path.with_suffix(".py")
        code = module.read_text() + (migrations if path.stem == "schema" else "")
        names = Statements(".".join(module.relative_to(ROOT).with_suffix("").parts)).names
        assert names, path
        unused += [f"{path.name}: {name}" for name in names if name not in re.findall(r"[\"'](\w+)[\"']", code)]
    assert unused == []


def test_packages_contain_only_a_docstring() -> None:
    for path in ROOT.glob("pipelines/**/__init__.py"):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-workers.lock"])
def test_the_lock_has_hashes_and_no_urls(name: str) -> None:
    lock = (ROOT / ".ci" / name).read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > lock.count("==") > 100


def test_the_formatter_decides_the_layout_everywhere() -> None:
    pragma = "fmt: " + "(skip|off)"
    assert [str(path) for path in python_files() if re.search(rf"# {pragma}", path.read_text())] == []


def test_modules_are_in_rooms() -> None:
    def loose(folder: str) -> list[str]:
        return sorted(path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py")

    assert len(loose("pipelines")) <= 7, loose("pipelines")
    assert loose("pipelines/domain") == loose("pipelines/storage") == []


@pytest.mark.parametrize("tier", ["unit", "integration", "e2e"])
def test_tests_are_in_the_rooms_of_what_they_test(tier: str) -> None:
    rooms = {path.name for path in (ROOT / "pipelines").iterdir() if path.is_dir()}
    folders = {path.name for path in (ROOT / "tests" / tier).iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= rooms | {"support"}
    if tier == "unit":
        inner = {path.name for path in (ROOT / "tests/unit/domain").iterdir() if path.is_dir()} - {"__pycache__"}
        assert inner <= {path.name for path in (ROOT / "pipelines/domain").iterdir() if path.is_dir()}
