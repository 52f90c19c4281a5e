"""Dagster's compute logs go to the shared place, by the section that is added to dagster.yaml."""

import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from s3_server import BUCKET, S3Server

from pipelines.service.dagster_home import write_dagster_home
from pipelines.settings import load_settings
from pipelines.storage.files.places import COMPUTE_LOGS, shared_place

ORIGINAL = Path(__file__).parents[3] / "dagster.yaml"


@dg.op
def say_hello() -> None:
    sys.stdout.write("hello from the worker\n")


@dg.job(executor_def=dg.in_process_executor)
def greeting() -> None:
    say_hello()


def instance(home: Path, url: str) -> dg.DagsterInstance:
    """An instance with the compute logs of dagster.yaml, and storage of its own."""
    settings = load_settings(home=home, shared_files={"url": url})
    write_dagster_home(settings)
    section = yaml.safe_load((settings.dagster_home / "dagster.yaml").read_text())["compute_logs"]
    folder = home / "instance"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(yaml.safe_dump({"compute_logs": section}))
    return dg.DagsterInstance.from_config(str(folder))


def log_key(worker: dg.DagsterInstance, run_id: str) -> list[str]:
    """Key of the logs of the run's only step."""
    events = [entry.dagster_event for entry in worker.all_logs(run_id) if entry.dagster_event is not None]
    [captured] = [event for event in events if event.event_type_value == "LOGS_CAPTURED"]
    return [run_id, "compute_logs", captured.event_specific_data.file_key]  # type: ignore[union-attr]


def test_logs_of_a_worker_are_shown_on_the_host_and_removed_with_the_run(tmp_path: Path, shared_url: str) -> None:
    with instance(tmp_path / "worker", shared_url) as worker, instance(tmp_path / "host", shared_url) as host:
        run_id = greeting.execute_in_process(instance=worker).run_id
        found = host.compute_log_manager.get_log_data(log_key(worker, run_id))
        assert b"hello from the worker" in (found.stdout or b"")
    place = shared_place(load_settings(shared_files={"url": shared_url}).shared_files)
    assert place is not None
    assert list(tmp_path.rglob(f"{COMPUTE_LOGS}/{run_id}/compute_logs/*.out")) != []
    place.remove_folder(f"{COMPUTE_LOGS}/{run_id}")
    place.remove_folder(f"{COMPUTE_LOGS}/{run_id}")
    assert [path for path in (tmp_path / "mount", tmp_path / "s3") for _ in path.rglob("*.out")] == []


def test_a_run_succeeds_while_the_s3_server_is_down(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with instance(tmp_path / "worker", f"s3://{BUCKET}") as worker:
        s3.kill()
        result = greeting.execute_in_process(instance=worker, raise_on_error=False)
        assert result.success


def test_a_run_succeeds_while_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mount").write_text("a file where the folder should be")
    with instance(tmp_path / "worker", str(tmp_path / "mount")) as worker:
        assert greeting.execute_in_process(instance=worker, raise_on_error=False).success


def test_without_a_shared_place_dagster_yaml_is_as_in_the_package(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    write_dagster_home(settings)
    assert (settings.dagster_home / "dagster.yaml").read_bytes() == ORIGINAL.read_bytes()
