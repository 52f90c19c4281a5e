"""Commands as a user meets them: a home folder that is empty or cannot be written, and a locale that is not UTF-8."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sample_ladders import ladder, write_ladder

pytestmark = pytest.mark.slow

READING = {
    "ladder BTC --price 1 --ttc 1": "there is no database in HOME yet: `strikecast migrate` creates it",
    "score BTC": "there is no database in HOME yet",
    "export fingerprints BTC OUT": "there is no database in HOME yet",
    "query SELECT": "there is no database in HOME yet",
    "psql": "there is no database in HOME yet",
    "markets list": "there is no database in HOME yet",
    "audit show": "there is no database in HOME yet",
    "retention --dry-run": "there is no database in HOME yet",
    "status": "none: `strikecast up`, `sample` or `ingest` create it",
    "symbol list": "BTC",
    "alerts": "problems have never been looked for in this home: start `strikecast up`",
    "backup list": "there is no backup in HOME/backups yet: `strikecast backup create`",
    "backup rotate --dry-run": "nothing to delete: there is no backup in HOME/backups",
    "backup base --dry-run": "there is no base backup in HOME/backups/base",
    "logs --dry-run": "logs: nothing to do",
    "watch": "there is no file for BTC yet: `strikecast up` writes it",
    "config show": "ui_port",
    "config check": "HOME/strikecast.toml does not exist: the defaults apply",
}
WRITING = ["up --port 0", "sample BTC", "build BTC", "migrate", "backup create", "backup rotate", "logs", "live --once"]


def strikecast(*arguments: str, home: Path, unprivileged: bool = False, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command; `unprivileged`: as root, without its capabilities."""
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if unprivileged and os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "pipelines.cli", *arguments],
        env={**os.environ, "STRIKECAST_HOME": str(home), **variables},
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("command", READING)
def test_a_command_that_reads_creates_nothing_and_says_what_to_do(command: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _, out, err = strikecast(*command.replace("OUT", str(tmp_path / "out")).split(), home=home)
    assert READING[command].replace("HOME", str(home)) in out + err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read only"
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("command", WRITING)
def test_a_home_folder_that_cannot_be_written_is_one_line(command: str, exists: bool, read_only: Path) -> None:
    home = read_only if exists else read_only / "home"
    code, out, err = strikecast(*command.split(), home=home, unprivileged=True)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1, err
    problem = "cannot be written" if exists else "cannot be created"
    assert f"the home folder {home} {problem} by the user {os.geteuid()}: run the command as the folder's owner" in err
    assert list(read_only.iterdir()) == []


def test_watch_and_serve_read_a_home_folder_that_cannot_be_written(read_only: Path) -> None:
    code, out, err = strikecast("watch", home=read_only, unprivileged=True)
    assert (code, out) == (1, "")
    assert err == "strikecast: there is no file for BTC yet: `strikecast up` writes it\n"
    code, out, err = strikecast("serve", "--host", "203.0.113.1", home=read_only, unprivileged=True)
    assert (code, out) == (1, "")
    assert "203.0.113.1" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_ladder_is_readable_without_utf8(variables: dict[str, str], tmp_path: Path) -> None:
    write_ladder(tmp_path / "output", "BTC", ladder(95_000.0, datetime.now(UTC)))
    code, out, err = strikecast("watch", "BTC", home=tmp_path, **variables)
    assert (code, err) == (0, "")
    assert out.isascii()
    assert "#####" in out, "the bars"
    assert len(out.splitlines()) > 20
