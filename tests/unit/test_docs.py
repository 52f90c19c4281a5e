"""The documentation refers to files, headings and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_repository_exists(page: Path) -> None:
    paths = re.findall(r"`((?:pipelines|assets|tests|benchmarks|docs)/[\w./-]+)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_module_and_function_in_the_architecture_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    steps = re.findall(r"^\| \d+ \| `([\w/]+\.py)` \| (?:`([\w.]+)`|-) \|", text, re.MULTILINE)
    mentions = [
        (module, name) for name, module in re.findall(r"`(\w+)`\s\(`((?:pipelines|assets)/[\w/]+\.py)`\)", text)
    ]
    assert len(steps) > 10
    assert len(mentions) > 3
    missing = [reference for reference in [*steps, *mentions] if not defined(*reference)]
    assert missing == []


def defined(module: str, name: str) -> bool:
    """Whether a module exists and defines `name`, such as `function` or `Class.method`; any name if empty."""
    path = ROOT / module
    if not path.is_file():
        return False
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in filter(None, name.split(".")):
        nodes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [node for node in body if isinstance(node, nodes) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True
