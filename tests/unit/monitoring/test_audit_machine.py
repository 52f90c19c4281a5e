"""Measurements of the machine: limits of containers, disks, activity of processes."""

import os
import time
from pathlib import Path

import psutil
import pytest

from pipelines.domain.monitoring.audit.measurements import activity
from pipelines.domain.monitoring.audit.targets import State, judge
from pipelines.monitoring.audit import host
from pipelines.monitoring.audit.declarations import targets


def group(folder: Path, files: dict[str, str]) -> Path:
    """A control group as the kernel shows it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def first(quota: str, limit: str) -> dict[str, str]:
    """Files of version 1."""
    return {
        "cpu/cpu.cfs_quota_us": f"{quota}\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": f"{limit}\n",
    }


def test_limits_of_a_container_are_respected_in_both_versions_of_control_groups(tmp_path: Path) -> None:
    two = group(tmp_path / "2", {"cpu.max": "50000 100000\n", "memory.max": "536870912\n"})
    one = group(tmp_path / "1", first("25000", "1073741824"))
    assert (host.cores_allowed(two), host.memory_limit(two)) == (0.5, 2**29)
    assert (host.cores_allowed(one), host.memory_limit(one)) == (0.25, 2**30)


def test_no_limit_is_none(tmp_path: Path) -> None:
    cores = float(len(psutil.Process().cpu_affinity()))
    two = group(tmp_path / "2", {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    one = group(tmp_path / "1", first("-1", "9223372036854771712"))
    for folder in (two, one, tmp_path / "none"):
        assert (host.cores_allowed(folder), host.memory_limit(folder)) == (cores, None)


def test_the_memory_use_of_a_container_excludes_its_inactive_page_cache(tmp_path: Path) -> None:
    two = group(tmp_path / "2", {"memory.current": "900\n", "memory.stat": "anon 200\ninactive_file 600\n"})
    one = group(
        tmp_path / "1", {"memory/memory.usage_in_bytes": "900\n", "memory/memory.stat": "total_inactive_file 500\n"}
    )
    assert (host.memory_used(two), host.memory_used(one), host.memory_used(tmp_path)) == (300, 400, None)


def test_a_slow_disk_misses_its_target(tmp_path: Path) -> None:
    def slow(number: int) -> None:
        os.fsync(number)
        time.sleep(0.06)

    [target] = [one for one in targets() if one.name == "disk_sync"]
    throttled, usual = (
        host.measure_disks({"home": tmp_path}, 5, slow),
        host.measure_disks({"home": tmp_path}, 5, lambda _: None),
    )
    assert [one.state for one in judge([target], throttled.items)] == [State.MISSED]
    assert min(throttled.items[-1].samples) > 60 > min(usual.items[-1].samples)
    assert list(tmp_path.iterdir()) == [], "the file is removed"


def test_a_missing_folder_is_a_gap(tmp_path: Path) -> None:
    measured = host.measure_disks({"backups": tmp_path / "none"}, 5)
    assert [(one.name, one.why) for one in measured.gaps] == [("disk of backups", "No such file or directory")]
    assert measured.items == []


@pytest.mark.parametrize(
    ("share", "called"),
    [
        (0.0, "idle"),
        (0.99, "idle"),
        (1.0, "normal"),
        (9.9, "normal"),
        (10.5, "normal"),
        (20.0, "normal"),
        (20.1, "high"),
    ],
)
def test_every_share_of_a_core_has_a_class(share: float, called: str) -> None:
    """The classes of the original audits lacked 10 to 20 %, and had 0.5 % in `1-10 %`."""
    assert activity(share) == called
