"""System programs that tests need: how to install them, and how many tests are skipped without them.

A test that starts a program carries `@pytest.mark.needs("age")`. Without the program the test is skipped, and
the run ends with one line per missing program. With REQUIRE_PROGRAMS=1, as in CI, a missing program is an error before any
test runs. `python tests/support/programs.py install` installs missing programs, as root on a system with apt.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = os.environ.get("REQUIRE_PROGRAMS") == "1"
#: Programs of packages from PyPI, such as rclone.
SCRIPTS = Path(sysconfig.get_path("scripts"))


def find(name: str) -> Path | None:
    """A program on the PATH or among the scripts of the Python environment."""
    found = shutil.which(name) or shutil.which(name, path=str(SCRIPTS))
    return Path(found) if found else None


def postgresql_with_contrib() -> Path | None:
    """Folder of the programs of the newest installed PostgreSQL (15 or newer) with contrib modules."""
    folders = {
        int(control.parts[-3]): Path("/usr/lib/postgresql") / control.parts[-3] / "bin"
        for control in Path("/usr/share/postgresql").glob("[0-9]*/extension/pg_stat_statements.control")
    }
    versions = [version for version, folder in folders.items() if version >= 15 and (folder / "initdb").exists()]
    return folders[max(versions)] if versions else None


def mounting_is_allowed() -> bool:
    if os.geteuid() != 0 or find("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def rabbitmq() -> Path | None:
    """The program that starts a node as any user, unlike the one on the PATH."""
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return found if found.exists() else None


def pgbouncer() -> Path | None:
    """Debian's package has it in a folder that is on root's PATH only."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    return Path(found) if found else None


def chromium() -> Path | None:
    """The system's Chromium, or Debian's headless build; None when playwright cannot control it."""
    try:
        ctypes.CDLL("libatomic.so.1")  # needed by the Node.js in playwright's wheel
    except OSError:
        return None
    return find("chromium") or find("chromium-headless-shell")


@dataclass(frozen=True)
class Program:
    """A program that the Python environment does not provide; `packages`: its Debian packages, possibly none."""

    name: str
    packages: tuple[str, ...]
    find: Callable[[], object]

    @property
    def reason(self) -> str:
        """Reason for skipping a test."""
        remedy = "run the tests as root, outside of a container"
        if self.packages:
            remedy = f"apt-get install {' '.join(self.packages)}"
        return f"needs {self.name} ({remedy})"


PROGRAMS = {
    program.name: program
    for program in (
        Program("age", ("age",), lambda: find("age")),
        Program("Chromium", ("chromium-headless-shell", "libatomic1"), chromium),
        Program("gpg", ("gnupg",), lambda: find("gpg")),
        Program("PgBouncer", ("pgbouncer",), pgbouncer),
        Program("PostgreSQL with contrib", ("postgresql",), postgresql_with_contrib),
        Program("RabbitMQ", ("rabbitmq-server",), rabbitmq),
        Program("systemd-analyze", ("systemd",), lambda: find("systemd-analyze")),
        Program("a mount", (), mounting_is_allowed),
    )
}


def missing() -> list[Program]:
    return [program for program in PROGRAMS.values() if not program.find()]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(program, ...): programs of `tests/support/programs.py` that the test starts"
    )
    if REQUIRED and (lacking := missing()):
        raise pytest.UsageError("; ".join(f"a test {program.reason}" for program in lacking))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests whose programs are missing."""
    lacking = {program.name: program for program in missing()}
    for item in items:
        for marker in item.iter_markers("needs"):
            assert set(marker.args) <= PROGRAMS.keys(), f"{item.nodeid} needs an unknown program: {marker.args}"
            for name in marker.args:
                if name in lacking:
                    item.add_marker(pytest.mark.skip(reason=lacking[name].reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per missing program, with the number of skipped tests."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for program in PROGRAMS.values():
        if skipped := reasons[program.reason]:
            terminalreporter.write_line(
                f"{skipped} tests skipped: {program.reason.replace('needs', 'they need', 1)}", yellow=True
            )


def install() -> None:
    """Install missing programs with apt, as root; after a failure the tests are skipped."""
    wanted = [program for program in missing() if program.packages]
    if not wanted or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    names = ", ".join(program.name for program in wanted)
    print(f"installing programs for tests: {names}", flush=True)
    packages = [package for program in wanted for package in program.packages]
    with _no_cluster_created(), _no_service_started():
        if not _apt("install", *packages):
            _apt("update")
            if not _apt("install", *packages):
                print(f"apt-get could not install {names}: tests that need them are skipped", file=sys.stderr)


def _apt(action: str, *packages: str) -> bool:
    options = ["-qq", "-y", "--no-install-recommends", *packages] if packages else ["-qq"]
    completed = subprocess.run(
        ["apt-get", action, *options],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        check=False,
    )
    return completed.returncode == 0


@contextmanager
def _no_cluster_created() -> Iterator[None]:
    """Prevent Debian's PostgreSQL package from creating and starting a cluster: the tests start their own servers."""
    setting = Path("/etc/postgresql-common/createcluster.d/strikecast-tests.conf")
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        setting.unlink()


@contextmanager
def _no_service_started() -> Iterator[None]:
    """Prevent Debian's packages, such as PgBouncer's, from starting services."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python tests/support/programs.py install")
    install()
