"""Set-up of the Python environment: pip's configuration is passed on to uv, and only locked packages are installed."""

import importlib.util
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "install.py"
LOCKS = tuple(ROOT / ".ci" / f"requirements{part}.lock" for part in ("", "-workers", "-dev"))


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pips_files_and_variables_are_read_and_variables_take_precedence(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nquiet = 1\nindex-url = https://a.example/simple\nextra-index-url =\n    https://b.example\n"
        "    https://c.example\n[install]\ntimeout = 7\n[download]\ntimeout = 9\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_INDEX_URL", "https://d.example/simple")
    found = install.pip_settings(Path(sys.executable))
    assert found["index-url"] == "https://d.example/simple"
    assert found["timeout"] == "7"
    assert found["extra-index-url"].split() == ["https://b.example", "https://c.example"]


def test_settings_are_translated_to_uvs_variables(install: ModuleType) -> None:
    settings = {"extra-index-url": "\nhttps://b.example\nhttps://c.example", "find-links": "/a /b", "cert": "/ca.pem"}
    assert install.uv_variables({**settings, "constraint": "x", "quiet": "1"}) == {
        "UV_SYSTEM_CERTS": "1",
        "UV_INDEX": "https://b.example https://c.example",
        "UV_FIND_LINKS": "/a,/b",
        "SSL_CERT_FILE": "/ca.pem",
    }


@pytest.mark.parametrize("name", ["no-binary", "target", "keyring-provider", "something-new"])
def test_pip_installs_when_a_setting_has_no_counterpart(install: ModuleType, name: str) -> None:
    assert install.uv_variables({"index-url": "https://a.example", name: "1"}) is None


def test_uv_is_installed_with_the_locked_hashes(install: ModuleType) -> None:
    lines = install.block("uv", LOCKS).splitlines()
    assert re.match(r"uv==[\d.]+ \\$", lines[0])
    assert all(re.match(r"    --hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in lines[1:])


def test_the_two_locks_agree() -> None:
    pins = [dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+) \\$", lock.read_text(), re.MULTILINE)) for lock in LOCKS]
    shared = pins[0].keys() & pins[1].keys()
    assert shared
    assert {name: pins[0][name] for name in shared} == {name: pins[1][name] for name in shared}


def test_an_unwritable_folder_is_reported_on_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    # Root can write to every folder, but not to one in /proc.
    place = tmp_path / ".venv" if os.geteuid() != 0 else Path("/proc/self/.venv")
    completed = subprocess.run([sys.executable, SCRIPT, place, *LOCKS], capture_output=True, text=True, check=False)
    assert completed.returncode == 1
    assert re.fullmatch(r"set-up: \S+ cannot be written: clone to a folder that you can write\n", completed.stderr)
