"""The systemd unit and the compose file are valid, and agree with the project."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.configuration.fields import setting_fields
from pipelines.service.leftovers import STOP_TIMEOUT_SECONDS
from pipelines.settings import Settings
from pipelines.storage.postgres import embedded

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "deployment"
UNIT = FOLDER / "strikecast.service"
WORKER_UNIT = FOLDER / "strikecast-worker.service"
VARIABLES = {field.variable for field in setting_fields(Settings)}
#: Longest orderly end: the daemon, the runs, Dagster's servers, and then the embedded server.
STOP_SECONDS = 3 * STOP_TIMEOUT_SECONDS + embedded.STOP_TIMEOUT_SECONDS


class Unit(configparser.ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(scope="module")
def unit() -> Unit:
    parsed = Unit(interpolation=None)
    parsed.read_string(UNIT.read_text())
    return parsed


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert isinstance(parsed, dict)
    return parsed


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s?", text)
    assert found, text
    return int(found[1])


def installed_unit(folder: Path, unit: Path = UNIT) -> Path:
    """The unit with this environment's program, which systemd-analyze looks for."""
    program = Path(sys.executable).with_name("strikecast")
    text, replaced = re.subn(r"^ExecStart=\S+", f"ExecStart={program}", unit.read_text(), flags=re.MULTILINE)
    assert replaced == 1
    path = folder / unit.name
    path.write_text(text)
    return path


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("path", [UNIT, WORKER_UNIT], ids=lambda path: path.stem)
def test_systemd_accepts_the_unit(tmp_path: Path, path: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", installed_unit(tmp_path, path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if path.name in line]
    assert (done.returncode, lines) == (0, [])


@pytest.mark.needs("systemd-analyze")
def test_systemd_rejects_an_unknown_option(tmp_path: Path) -> None:
    path = installed_unit(tmp_path)
    path.write_text(path.read_text().replace("PrivateTmp=yes", "PrivateTemp=yes"))
    command = ["systemd-analyze", "verify", "--man=no", path]
    assert "PrivateTemp" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("path", [UNIT, WORKER_UNIT], ids=lambda path: path.stem)
def test_the_exposure_of_the_service_is_low(tmp_path: Path, path: Path) -> None:
    """systemd's scale ends at 10; a service without hardening has 9.6."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", installed_unit(tmp_path, path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:]


def test_the_unit_leaves_the_time_that_up_needs_to_stop(unit: Unit) -> None:
    service = unit["Service"]
    assert service["ExecStart"].endswith("/strikecast up")
    assert seconds(service["TimeoutStopSec"]) > STOP_SECONDS
    assert service["KillMode"] == "mixed"
    assert service["Environment"].split("=")[0] in VARIABLES
    assert service["Environment"].endswith(f"/var/lib/{service['StateDirectory']}")


def test_every_folder_of_the_page_is_that_of_the_unit(unit: Unit) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    for value in (unit["Service"]["ExecStart"].split()[0], unit["Service"]["EnvironmentFile"].lstrip("-")):
        assert value in page


def test_images_are_pinned_and_volumes_declared(compose: dict[str, Any]) -> None:
    services = compose["services"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert services["strikecast"]["image"] == f"strikecast:{version}"
    base = re.findall(r"^FROM (\S+)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    for image in [services["postgres"]["image"], *base]:
        assert re.search(r":\d+\.\d+", image), image
    mounted = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert mounted == set(compose["volumes"])


def test_the_containers_use_real_settings_folders_and_endpoints(compose: dict[str, Any]) -> None:
    service = compose["services"]["strikecast"]
    assert set(service["environment"]) <= VARIABLES
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "published on loopback alone"
    assert seconds(service["stop_grace_period"]) > STOP_SECONDS
    assert all(one["restart"] == "unless-stopped" and one["healthcheck"] for one in compose["services"].values())
    assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    probe = service["healthcheck"]["test"]
    assert 'Route("/health"' in (ROOT / "pipelines" / "web" / "app.py").read_text()
    compile(probe[3], "healthcheck", "exec")
    assert "http://127.0.0.1:8321/health" in probe[3]
    home = re.search(r"STRIKECAST_HOME=(\S+)", (FOLDER / "Dockerfile").read_text())
    assert home is not None
    assert f"home:{home[1]}" in service["volumes"]


def test_the_image_contains_what_the_wheel_needs() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for source in line.split()]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "pyproject.toml"}
    assert needed <= set(copied)
    assert "USER strikecast" in text
