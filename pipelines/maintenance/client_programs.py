"""PostgreSQL's client programs: find them, and connect them to a database without exposing its password."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.errors import BackupError
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import postgres_bin_dir

INSTALLATIONS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
SERVICE = "strikecast"


def find_client_programs(major: int) -> Path:
    """Folder of client programs of a server's major version, or of the next newer one. Raises BackupError without any.

    The same version is preferred: an older server may not understand the output of a newer pg_dump.
    """
    suitable = [(version, folder) for folder, version in _versions("pg_dump").items() if version >= major]
    if not suitable:
        raise BackupError(f"no pg_dump of version {major} or newer was found: install postgresql-client-{major}")
    return min(suitable, key=lambda one: one[0])[1]


def find_server_programs(major: int) -> Path:
    """Folder of the programs of an installed server of exactly this major version. Raises BackupError without any.

    pg_verifybackup of the embedded server crashes when it is loaded (version 0.6 of its wheel).
    """
    for folder, version in _versions("pg_verifybackup").items():
        if version == major and (folder / "postgres").is_file():
            return folder
    raise BackupError(
        f"no installed PostgreSQL {major} server with a working pg_verifybackup was found: install postgresql-{major}"
    )


def _versions(program: str) -> dict[Path, int]:
    """Folders with a program, and its major version."""
    folders = [Path(found).parent] if (found := shutil.which(program)) else []
    folders += sorted(folder for pattern in INSTALLATIONS for folder in Path("/").glob(pattern))
    folders.append(postgres_bin_dir())
    return {folder: version for folder in folders if (version := _version(folder / program)) is not None}


def _version(program: Path) -> int | None:
    with suppress(OSError):
        try:
            output = subprocess.run(
                [program, "--version"], capture_output=True, text=True, timeout=60, check=False
            ).stdout
        except subprocess.TimeoutExpired as error:
            raise BackupError(f"{program} --version did not end within 60 s: the machine is overloaded") from error
        if found := re.search(r"\d+", output):
            return int(found[0])
    return None


@contextmanager
def client_environment(database: Database) -> Iterator[Mapping[str, str]]:
    """Environment variables that connect PostgreSQL's programs to a database, by a service file and a passfile."""
    parameters = {name: str(value) for name, value in database.parameters.items() if value is not None}
    password = parameters.pop("password", None)
    with TemporaryDirectory(prefix="strikecast-") as folder:
        service = Path(folder) / "service.conf"
        service.write_text(f"[{SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in parameters.items()))
        variables = {**os.environ, "PGSERVICEFILE": str(service), "PGSERVICE": SERVICE}
        if password is not None:
            passfile = Path(folder) / "passfile"
            passfile.touch(mode=0o600)
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            passfile.write_text(f"*:*:*:*:{escaped}\n")
            variables["PGPASSFILE"] = str(passfile)
        yield variables
