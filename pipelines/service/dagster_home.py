"""DAGSTER_HOME: the project's dagster.yaml, with what the settings change of it; the same file at their defaults."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

import pipelines
from pipelines.atomic_files import atomic_write
from pipelines.errors import SettingsError
from pipelines.processes.run_titles import QUEUE_TAG
from pipelines.settings import Settings
from pipelines.storage.files.places import COMPUTE_LOGS, require_s3

#: How often Dagster asks whether the runs on workers are alive, with workers.
MONITORING_SECONDS = 5


def write_dagster_home(settings: Settings) -> None:
    """Write dagster.yaml to DAGSTER_HOME: ours, with the launcher of workers if `[workers]` has a broker.

    Raises SettingsError when that folder is a project, or the packages of workers or of S3 are missing.
    """
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if (settings.dagster_home / "pyproject.toml").exists():
        raise SettingsError(f"{settings.dagster_home} is a project: DAGSTER_HOME must lie outside of it")
    package = Path(pipelines.__file__).parent  # a wheel has dagster.yaml in this folder, a checkout in the one above
    source = next(path for path in (package / "dagster.yaml", package.parent / "dagster.yaml") if path.is_file())
    text = dagster_yaml(source.read_text(encoding="utf-8"), settings)
    if settings.has_workers:
        require_workers_extra()
        text = with_workers(text, settings)
    with atomic_write(settings.dagster_home / "dagster.yaml") as partial:
        partial.write_text(text + _compute_logs(settings), encoding="utf-8")


def dagster_yaml(text: str, settings: Settings) -> str:
    """The text of dagster.yaml with the settings in it; at their defaults the text as it is, with its comments."""
    limits = settings.concurrency
    for name, value in (("max_concurrent_runs", limits.runs), ("default_limit", limits.builds_per_pool)):
        text = re.sub(rf"^( *{name}): \d+", rf"\1: {value}", text, count=1, flags=re.MULTILINE)
    return text


def require_workers_extra() -> None:
    """Raise SettingsError unless the packages are installed by which runs are handed to workers."""
    if find_spec("dagster_celery") is None:
        raise SettingsError(
            "[workers] needs the packages of the extra: `make workers` in a checkout, or `pip install "
            "'strikecast[workers]'`"
        )


def with_workers(text: str, settings: Settings) -> str:
    """The content of dagster.yaml with the launcher of runs on workers; it contains no address.

    Runs on workers are limited by their tag, so that however many wait, the live session has its place.
    """
    found: dict[str, Any] = yaml.safe_load(text)
    workers, runs = settings.workers, found["concurrency"]["runs"]
    runs["max_concurrent_runs"] += workers.max_concurrent_runs
    runs["tag_concurrency_limits"] = [{"key": QUEUE_TAG, "limit": workers.max_concurrent_runs}]
    found["run_launcher"] = {"module": "pipelines.service.workers.launcher", "class": "WorkerLauncher"}
    monitoring = found["run_monitoring"]
    # Earlier and with the reason, the run reaper fails runs that no worker takes, and the host's without a process.
    monitoring["start_timeout_seconds"] += workers.queue_timeout_seconds
    monitoring["poll_interval_seconds"] = MONITORING_SECONDS
    # A run that has failed writes no more: its process has ended, or has lost its lock.
    monitoring["free_slots_after_run_end_seconds"] = MONITORING_SECONDS
    # Of runs whose worker was lost; the launcher permits it by a tag, and the live session has none.
    found["run_retries"] = {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False}
    note = "# Written by strikecast from its own dagster.yaml and [workers] of the settings, at each start.\n"
    return note + yaml.safe_dump(found, sort_keys=False)


def _compute_logs(settings: Settings) -> str:
    """The section of dagster.yaml that puts compute logs into the shared place; empty without one.

    JSON is YAML, and quotes what has to be. `retention` deletes the folders of runs.
    """
    shared = settings.shared_files
    if shared.url is None:
        return ""
    module, name = "dagster.core.storage.local_compute_log_manager", "LocalComputeLogManager"
    config: dict[str, object] = {"base_dir": f"{shared.url}/{COMPUTE_LOGS}"}
    if shared.bucket_and_prefix is not None:
        require_s3()
        bucket, prefix = shared.bucket_and_prefix
        module, name = "dagster_aws.s3.compute_log_manager", "S3ComputeLogManager"
        config = {
            "bucket": bucket,
            "prefix": f"{prefix}{Path(COMPUTE_LOGS).parent}",
            "local_dir": str(settings.dagster_home / "storage"),
            "upload_interval": 30,
        }
    section = {"compute_logs": {"module": module, "class": name, "config": config}}
    return f"\n# The shared place of shared_files.url.\n{json.dumps(section)[1:-1]}\n"
