"""What other users of the machine can do with the home folder: read the probability files, and nothing else."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from server_folders import server_folder

from pipelines.errors import ServerUnavailableError, StateError
from pipelines.live.probability_writer import FENCE, ProbabilityFileWriter, probabilities_path
from pipelines.protection.private_files import tighten
from pipelines.service.supervisor import exclusive
from pipelines.settings import load_settings
from pipelines.storage.postgres.embedded import EmbeddedServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

#: Prints every path that another user can list, read, write, enter or lock.
PROBE = """
import fcntl, os, sys
found = set()
def look(path):
    for name, flags in (("read", os.O_RDONLY), ("write", os.O_RDWR)):
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except OSError:
            continue
        found.add((name, path))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.add(("lock", path))
        except OSError:
            pass
        os.close(descriptor)
    if os.path.isdir(path) and os.access(path, os.W_OK):
        found.add(("create in", path))
for path in sys.stdin.read().splitlines():
    look(path)
for kind, path in sorted(found):
    print(kind, path)
"""


def as_another_user(paths: list[Path]) -> list[str]:
    """What the user `nobody` can do with paths, such as `read /a/b`."""
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", PROBE],
        input="\n".join(map(str, paths)),
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def home() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder / "parent" / "home"


def test_another_user_reads_the_probability_files_and_nothing_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_HOME", str(home))
    for command in (["migrate"], ["backup", "create"], ["sample", "BTC", "--days", "3"], ["live", "--once"]):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *command],
            env={**os.environ, "STRIKECAST_HOME": str(home)},
            umask=0o022,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0 or command[0] in {"sample", "live"}, done.stderr
    previous = os.umask(0o077)
    try:
        writer = ProbabilityFileWriter(home / "output")
        writer.claim(1, "test")
        writer.write("BTC", {"current_price": 1.0})
        writer.close()
    finally:
        os.umask(previous)
    paths = [home, *home.rglob("*")]
    assert len(paths) > 50
    file = probabilities_path(home / "output", "BTC")
    readable = [home / "output", *(home / "output").glob("*.json")]
    allowed = {f"{what} {path}" for path in readable for what in ("read", "lock")}
    assert set(as_another_user(paths)) == allowed
    assert file.stat().st_mode & 0o777 == 0o644
    assert (home / "backup-signing.key").stat().st_mode & 0o777 == 0o600


def test_up_tightens_a_home_folder_of_an_earlier_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_HOME", str(home))
    (home / "output").mkdir(parents=True)
    (home / "dagster" / "storage").mkdir(parents=True)
    (home / "logs").mkdir()
    for name in ("logs/commands.jsonl", "strikecast.toml", "dagster/storage/run", "output/btc_live_probabilities.json"):
        (home / name).write_text("# nothing\n")
    elsewhere = home.parent / "elsewhere"
    elsewhere.write_text("not ours to change")
    (home / "link").symlink_to(elsewhere)
    for path in [home, *home.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
    logged: list[str] = []
    (home / "output").chmod(0o755)
    (home / "output" / "btc_live_probabilities.json").chmod(0o644)
    with exclusive(load_settings(), logged.append):
        pass
    output = home / "output"
    allowed = {
        f"{what} {path}" for path in (output, output / "btc_live_probabilities.json") for what in ("read", "lock")
    }
    assert set(as_another_user([home, *(path for path in home.rglob("*") if not path.is_symlink())])) == allowed
    assert elsewhere.stat().st_mode & 0o777 == 0o644
    assert "strikecast.toml: 666 -> 600" in logged[0]
    assert tighten(home, output) == [], "nothing is left to change"


def test_a_token_that_others_could_lock_is_made_private(tmp_path: Path) -> None:
    (tmp_path / FENCE).touch(mode=0o644)
    (tmp_path / FENCE).chmod(0o666)
    writer = ProbabilityFileWriter(tmp_path)
    assert (tmp_path / FENCE).stat().st_mode & 0o777 == 0o600
    writer.close()
    (tmp_path / FENCE).unlink()
    (tmp_path / FENCE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match=r"\.session cannot be opened"):
        ProbabilityFileWriter(tmp_path)


def link(folder: Path) -> None:
    (folder.parent / f"{folder.name}-target").mkdir(mode=0o700, exist_ok=True)
    folder.symlink_to(folder.parent / f"{folder.name}-target")


def of_nobody(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)


def open_for_all(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("pgserver").pw_uid, -1)
    folder.chmod(0o777)


@pytest.mark.parametrize(
    ("plant", "seen"), [(link, "no folder"), (of_nobody, "a folder of user"), (open_for_all, "mode 777")]
)
def test_a_socket_folder_that_others_made_is_refused(plant: object, seen: str) -> None:
    assert callable(plant)
    with server_folder() as folder:
        server = EmbeddedServer(folder / ("long" * 25) / "pg")
        assert server.socket_dir.parent == Path("/tmp"), "it does not fit below the home folder"  # noqa: S108
        with server.running() as url, psycopg.connect(url.replace("/strikecast?", "/postgres?")) as connection:
            connection.execute("SELECT 1")
        server.socket_dir.rmdir()
        plant(server.socket_dir)
        try:
            with (
                pytest.raises(ServerUnavailableError, match=rf"the folder of PostgreSQL's socket.*{seen}"),
                server.running(),
            ):
                pass
        finally:
            if server.socket_dir.is_symlink():
                target = server.socket_dir.readlink()
                server.socket_dir.unlink()
                target.rmdir()
            else:
                server.socket_dir.rmdir()
