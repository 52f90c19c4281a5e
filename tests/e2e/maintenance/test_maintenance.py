"""Backups and restore drills from the command line and through Dagster."""

import json
import re
from pathlib import Path

import dagster as dg
import pytest
from system import System

from pipelines.definitions import defs
from pipelines.maintenance.backup import DUMP, find_backup


@pytest.fixture(scope="module")
def backed_up(system: System) -> dict[str, object]:
    """The first backup, created from the command line."""
    done = system.invoke("backup", "create", "--json")
    assert done.returncode == 0, done.stderr
    made: dict[str, object] = json.loads(done.stdout)
    return made


def test_a_backup_from_the_command_line_is_listed_verified_and_restored(
    system: System, backed_up: dict[str, object]
) -> None:
    listed = json.loads(system.invoke("backup", "list", "--json").stdout)
    assert [one["name"] for one in listed["backups"]] == [backed_up["name"]]
    drilled = system.invoke("backup", "drill")
    assert drilled.returncode == 0, drilled.stderr
    assert re.search(r"ladders +1\n", drilled.stdout)
    assert re.search(r"differences +none\n", drilled.stdout)
    assert "BTC" not in drilled.stderr.replace(str(backed_up["name"]), "")
    table = system.invoke("backup", "list").stdout
    assert str(backed_up["name"]) in table.replace("\n", "")
    planned = system.invoke("backup", "rotate", "--dry-run").stdout
    assert planned.split(":")[0].split() == ["keep", str(backed_up["name"])]
    bases = json.loads(system.invoke("backup", "base", "--dry-run", "--json").stdout)
    assert bases == {"made": None, "keep": [], "delete": [], "wal_from": None}
    usage = system.invoke("backup", "drill", "--help").stdout
    assert "--pitr" in usage


def test_a_restore_that_is_not_possible_is_a_one_line_error(system: System, backed_up: dict[str, object]) -> None:
    for arguments, message in (
        (["restore"], "database strikecast exists: restore with --into NAME"),
        (["restore", "--into", "x", "--replace"], "restore takes either --into DATABASE or --replace"),
        (["restore", "nothing", "--into", "x"], "there is no backup 'nothing'"),
        (["restore", "--into", "dagster"], "database 'dagster' cannot be created"),
        (["drill", "--pitr"], "the server does not archive WAL (archive_mode off"),
        (["drill", "x", "--pitr"], "drill takes either the name of a backup or --pitr"),
    ):
        done = system.invoke("backup", *arguments)
        assert done.returncode == 1
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_the_nightly_job_backs_up_rotates_and_reports(
    in_system: System, instance: dg.DagsterInstance, backed_up: dict[str, object]
) -> None:
    done = defs.resolve_job_def("backup_database").execute_in_process(instance=instance)
    assert done.success
    event = instance.get_latest_materialization_event(dg.AssetKey("backup"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["backups"].value == 2
    assert "analytics.lookup_1 | 43,981" in str(metadata["largest_tables"].value)
    assert f"{backed_up['name']} | kept | one of the newest 3" in str(metadata["rotation"].value)


def test_the_weekly_drill_is_a_check_that_fails_for_a_damaged_backup(
    in_system: System, instance: dg.DagsterInstance, backed_up: dict[str, object]
) -> None:
    def outcome() -> dg.AssetCheckEvaluation:
        done = defs.resolve_job_def("restore_drill").execute_in_process(instance=instance, raise_on_error=False)
        return done.get_asset_check_evaluations()[0]

    passed = outcome()
    assert passed.passed
    assert passed.metadata["ladders_read"].value == 1
    newest = in_system.settings.backups_dir / str(passed.metadata["backup"].value)
    content = bytearray((newest / DUMP).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / DUMP).write_bytes(content)
    failed = outcome()
    assert not failed.passed
    assert f"{newest.name} is damaged: database.dump" in str(failed.metadata["problem"].value)
    assert outcome().metadata["backup"].value == backed_up["name"], "the next drill uses the newest undamaged backup"


def test_a_failed_copy_fails_the_run_and_keeps_the_backup(
    in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_BACKUP__COPY_TO", str(in_system.home / "not mounted"))
    done = defs.resolve_job_def("backup_database").execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    event = instance.get_latest_materialization_event(dg.AssetKey("backup"))
    assert event is not None
    assert event.run_id == done.run_id
    assert event.asset_materialization is not None
    made = Path(str(event.asset_materialization.metadata["path"].value))
    assert find_backup(in_system.settings.backups_dir, None).folder == made
    failed = in_system.invoke("backup", "create", STRIKECAST_BACKUP__COPY_TO="/not/mounted")
    assert failed.returncode == 1
    assert "was made, but" in failed.stderr
