"""`strikecast config` checks, shows and creates the settings file."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.config import app
from pipelines.errors import SettingsError


@pytest.fixture
def file() -> Path:
    """The settings file, in a home folder that does not exist yet."""
    return Path(os.environ["STRIKECAST_HOME"]) / "strikecast.toml"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_check_lists_every_problem_and_fails(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("feeed = 1\n[replay]\nspeed = 0\n")
    checked = run("check")
    assert checked.exit_code == 1
    assert sorted(checked.stdout.splitlines()) == [
        f'{file}:1: unknown setting "feeed"; did you mean "feed"?',
        f"{file}:3: replay.speed: Input should be greater than 0",
    ]
    assert len(json.loads(run("check", "--json").stdout)["problems"]) == 2


@pytest.mark.parametrize(
    "line",
    [
        'database_url = "postgresql://ann:s3cret@db.example.org/strikecast"',
        '[alerts]\nurls = ["https://hooks.example.org/T0KEN"]',
    ],
)
def test_check_warns_of_credentials_that_everybody_may_read(file: Path, line: str) -> None:
    file.parent.mkdir()
    file.write_text(f"{line}\n")
    file.chmod(0o640)
    assert run("check").stdout == f"{file}: valid\n"
    file.chmod(0o644)
    checked = run("check")
    assert checked.exit_code == 0
    expected = f"{file} holds credentials, and every user of this machine may read it: run `chmod o-r {file}`"
    assert checked.stdout == f"{file}: valid\nwarning: {expected}\n"
    assert json.loads(run("check", "--json").stdout)["warnings"] == [expected]
    file.write_text("# " + line.replace("\n", "\n# "))
    assert run("check").stdout == f"{file}: valid\n"


def test_check_of_another_file_does_not_read_the_one_in_use(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    file.write_text("feeed = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("ui_port = 0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STRIKECAST_CONFIG", raising=False)
        checked = run("check", str(other))
        patch.delenv("STRIKECAST_CONFIG")
    assert (checked.exit_code, checked.stdout) == (0, f"{other}: valid\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIKECAST_CONFIG", "")
        assert isinstance(run("check", str(tmp_path / "missing.toml")).exception, SettingsError)


def test_check_and_show_create_nothing(file: Path) -> None:
    assert run("check").stdout == f"{file} does not exist: the defaults apply\n"
    assert run("show").exit_code == 0
    assert not file.parent.exists()


def test_show_names_the_source_of_each_value(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("[replay]\nspeed = 2\n")
    lines = [line.split() for line in run("show").stdout.splitlines()]
    assert ["replay.speed", "2.0", "file,", "line", "2"] in lines
    assert ["feed", '"replay"', "default"] in lines
    settings = {one["name"]: one for one in json.loads(run("show", "--json").stdout)["settings"]}
    assert settings["replay.speed"] == {
        "name": "replay.speed",
        "value": 2.0,
        "source": "file",
        "variable": None,
        "line": 2,
    }


def test_init_writes_a_private_file_once(file: Path) -> None:
    assert run("init").exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("check").stdout == f"{file}: valid\n"
    file.write_text("# mine\n")
    assert str(run("init").exception).endswith("exists: edit it, or move it away first")
    assert file.read_text() == "# mine\n"
    file.unlink()
    file.symlink_to(file.with_name("missing"))
    assert isinstance(run("init").exception, SettingsError)
