"""`strikecast backup list` shows base backups beside the dumps."""

import json
import os
from pathlib import Path

from typer.testing import CliRunner

from pipelines.cli.backup import app

LABEL = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
NAME = "base-20260712T030000Z"


def base_backup(name: str) -> Path:
    folder = Path(os.environ["STRIKECAST_HOME"]) / "backups" / "base" / name
    folder.mkdir(parents=True)
    (folder / "backup_label").write_text(LABEL)
    (folder / "PG_VERSION").write_text("18\n")
    return folder


def test_base_backups_are_listed_with_their_kind_time_and_size() -> None:
    folder = base_backup(NAME)
    base_backup(f"{NAME}.partial")
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert [line.split() for line in lines[3:]] == [[NAME, "base", "2026-07-12", "03:00", "0.0", "MB"]]
    assert json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout) == {
        "folder": str(folder.parents[1]),
        "backups": [],
        "base_backups": [
            {"name": NAME, "kind": "base", "snapshot_at": "2026-07-12T03:00:00+00:00", "bytes": len(LABEL) + 3}
        ],
    }


def test_a_base_backup_without_a_label_or_with_another_name_is_not_listed() -> None:
    (base_backup(NAME) / "backup_label").write_text("nothing")
    base_backup("base-of-ann")
    assert CliRunner().invoke(app, ["list"]).stdout.startswith("there is no backup in ")
