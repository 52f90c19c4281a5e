"""A server that archives its WAL by the project's script."""

import shutil
from pathlib import Path

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer

SCRIPT = Path(__file__).parents[2] / "pipelines" / "maintenance" / "wal_archive.sh"


def set_up_archiving(server: EmbeddedServer, archive: Path) -> None:
    """Let a server archive into a new folder from its next start on; the script is copied beside the server's folder."""
    script = shutil.copy(SCRIPT, server.directory.parent)
    with server.running():
        archive.mkdir()
        server.adopt_files()
        with Database(server.url("postgres")).connect("test", None, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET archive_mode = on")
            connection.execute(f'ALTER SYSTEM SET archive_command = \'sh "{script}" "{archive}" %p %f\'')
