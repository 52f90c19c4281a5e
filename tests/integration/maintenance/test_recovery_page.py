"""A server is restored to a given second with the commands of docs/backups.md."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from programs import postgresql_with_contrib
from server_folders import server_folder
from wal_archives import set_up_archiving

from pipelines.maintenance.point_in_time_recovery import create_base_backup
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer

ROOT = Path(__file__).parents[3]
#: Stands for systemd's: starts and stops the test's server as the server's user.
SYSTEMCTL = """\
#!/bin/sh
[ "$2" = postgresql ] || exit 0
cd / && {run} "{programs}/pg_ctl" -s -w -D "{folder}/main" -l "{folder}/restored.log" -o "-k {socket}" "$1"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as created:
        yield created


def commands_of_the_page() -> tuple[str, str]:
    """The commands of the restore, and those after it."""
    page = (ROOT / "docs" / "backups.md").read_text()
    section = page.partition("### Restore to a given second")[2].partition("\n## ")[0]
    restore, after = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return restore, after


def rows(database: Database) -> list[int]:
    with psycopg.connect(database.url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM marker ORDER BY 1")]


def insert(database: Database, number: int) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("INSERT INTO marker VALUES (%s)", [number])


@pytest.mark.needs("PostgreSQL with contrib")
def test_the_commands_of_the_page_restore_a_second_whose_wal_was_not_archived(folder: Path) -> None:
    programs = postgresql_with_contrib()
    assert programs is not None
    server = EmbeddedServer(folder / "pg", programs=programs)
    archive = folder / "pg" / "archive"
    set_up_archiving(server, archive)
    base_folder = folder / "backups" / "base"
    base_folder.mkdir(parents=True)
    with server.running():
        database = Database(server.url("postgres"))
        with psycopg.connect(database.url) as connection:
            connection.execute("CREATE TABLE marker (number int)")
        insert(database, 1)
        base = create_base_backup(database, base_folder, datetime.now(UTC))
        insert(database, 2)
        time.sleep(1.1)
        second = datetime.now(UTC).replace(microsecond=0)
        time.sleep(1.1)
        insert(database, 3)
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET archive_command = 'false'")
            connection.execute("SELECT pg_reload_conf()")
    restore, after = commands_of_the_page()
    owner = f"{server.data.owner()}:"
    main = folder / "pg" / "main"
    shutil.move(server.data, main)
    run = f"runuser -u {server.data.parent.owner()} --" if os.geteuid() == 0 else ""
    shims = folder / "bin"
    shims.mkdir()
    for name, text in {
        "systemctl": SYSTEMCTL.format(run=run, programs=programs, folder=main.parent, socket=server.socket_dir),
        "psql": f'#!/bin/sh\nexec {run} "{programs}/psql" -h "{server.socket_dir}" -U postgres -d postgres "$@"\n',
        "strikecast": "#!/bin/sh\n",
    }.items():
        (shims / name).write_text(text)
        (shims / name).chmod(0o755)
    text = restore
    for written, real in {
        "/var/lib/postgresql/15": str(main.parent),
        "/var/lib/strikecast/backups/base/base-20260712T030000Z": str(base),
        "/var/lib/postgresql/archive": str(archive),
        "2026-07-14 09:30:00+00": f"{second:%Y-%m-%d %H:%M:%S}+00",
        "postgres: main": f"{owner} main",
    }.items():
        assert written in text
        text = text.replace(written, real)
    environment = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}"}
    # The server of the test is already stopped: its first command finds none.
    text = text.replace("systemctl stop postgresql\n", "")
    done = subprocess.run(["bash", "-euc", text], env=environment, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stderr + (main.parent / "restored.log").read_text()[-2000:]
        database = Database(server.url("postgres"))
        assert rows(database) == [1, 2], "with the row whose WAL was not archived"
        text = f"cd {main.parent}\n{after}"
        done = subprocess.run(["bash", "-euc", text], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not (main.parent / "main.before").exists()
        assert not (main / "recovery.signal").exists()
        settings = (main / "postgresql.auto.conf").read_text()
        assert "recovery_target" not in settings
        assert "archive_mode" in settings
        insert(database, 4)
        assert rows(database) == [1, 2, 4]
    finally:
        subprocess.run([shims / "systemctl", "stop", "postgresql"], check=False, capture_output=True)
