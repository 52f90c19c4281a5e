"""dagster.yaml with the settings in it."""

from pathlib import Path

import pytest
import yaml

from pipelines.configuration.sections import ConcurrencySettings
from pipelines.errors import SettingsError
from pipelines.service.dagster_home import dagster_yaml, write_dagster_home
from pipelines.settings import load_settings

SOURCE = Path(__file__).parents[2] / "dagster.yaml"


def test_with_the_defaults_the_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    write_dagster_home(settings)
    assert (tmp_path / "dagster" / "dagster.yaml").read_bytes() == SOURCE.read_bytes()


def test_the_limits_of_runs_and_pools_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, concurrency={"runs": 40, "builds_per_pool": 17})
    expected = yaml.safe_load(SOURCE.read_text())
    expected["concurrency"]["runs"]["max_concurrent_runs"] = 40
    expected["concurrency"]["pools"]["default_limit"] = 17
    assert yaml.safe_load(dagster_yaml(SOURCE.read_text(), settings)) == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"runs": 2}, "concurrency.runs"),
        ({"builds_per_pool": 0}, "concurrency.builds_per_pool"),
        ({"builds_per_pool": 5}, "at most 4 of 6 runs may be builds"),
        ({"runs": 3, "builds_per_pool": 2}, "at most 1 of 3 runs may be builds"),
    ],
)
def test_limits_that_leave_no_room_for_live_sessions_are_refused(values: dict[str, int], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load_settings(concurrency=values)


def test_the_smallest_limits_are_accepted() -> None:
    assert load_settings(concurrency={"runs": 3}).concurrency == ConcurrencySettings(runs=3, builds_per_pool=1)
