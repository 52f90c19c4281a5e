"""docs/desk.md names what the paper desk has: its rejections, stages, states, gauges, settings and checks."""

import re
from pathlib import Path

import pytest

from pipelines.definitions import defs
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.trades import Stage
from pipelines.web.desk_report import DeskStatus

PAGE = (Path(__file__).parents[3] / "docs" / "desk.md").read_text()
SOURCE = (Path(__file__).parents[3] / "pipelines" / "web" / "desk.py").read_text()


@pytest.mark.parametrize("reason", Rejection, ids=lambda reason: reason.name)
def test_each_rejection_has_its_rule(reason: Rejection) -> None:
    assert f"\n| {reason} | " in PAGE


@pytest.mark.parametrize("name", [*Stage, *DeskStatus])
def test_each_stage_and_state_is_explained(name: str) -> None:
    assert f"\n| `{name}` | " in PAGE


def test_each_gauge_is_listed() -> None:
    gauges = {f"strikecast_desk_{name}" for name in re.findall(r'^        \("([a-z_]+)", ', SOURCE, re.MULTILINE)}
    assert len(gauges) > 10
    assert set(re.findall(r"`(strikecast_desk_\w+)`", PAGE)) == gauges


def test_each_check_is_listed() -> None:
    names = [key.name for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key.path == ["paper_desk"]]
    assert len(names) == 3
    for name in names:
        assert f"\n| `{name}` | " in PAGE
