"""Point-in-time recovery with PostgreSQL's programs, on a server of the test's own that archives WAL."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from programs import postgresql_with_contrib
from server_folders import server_folder
from small_builds import build_generation
from wal_archives import SCRIPT, set_up_archiving

from pipelines.errors import BackupError, NoDataError
from pipelines.maintenance.point_in_time_recovery import (
    base_folder,
    create_base_backup,
    list_base_backups,
    prune_base_backups,
    run_pitr_drill,
)
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate

INSTALLED_SERVER = pytest.mark.needs("PostgreSQL with contrib")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Replaces pytest's folder, which the server's user cannot enter."""
    with server_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def archiving() -> Iterator[tuple[Database, Path]]:
    """A database with a published symbol, and its server's archive folder."""
    with server_folder() as folder:
        # The wheel's pg_verifybackup crashes.
        server = EmbeddedServer(folder / "pg", programs=postgresql_with_contrib())
        archive = folder / "pg" / "the archive"
        set_up_archiving(server, archive)
        with server.running() as url:
            database = Database(url)
            migrate(database)
            build_generation(database, "BTC", seed=1)
            yield database, archive


@pytest.fixture
def settings(archiving: tuple[Database, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"BTC": {"strike_tier_usd": 0.25}}')
    monkeypatch.setenv("STRIKECAST_BACKUP__WAL_ARCHIVE", str(archiving[1]))
    monkeypatch.setenv("STRIKECAST_BACKUP__KEEP_BASE", "1")
    return load_settings()


@INSTALLED_SERVER
def test_a_given_second_is_restored_and_older_base_backups_are_pruned_with_their_wal(
    archiving: tuple[Database, Path], settings: Settings
) -> None:
    database, archive = archiving
    folder = base_folder(settings)
    with pytest.raises(NoDataError, match="run `strikecast backup base`"):
        run_pitr_drill(settings, database, now())
    first = create_base_backup(database, folder, now() - timedelta(days=1))
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history VALUES ('BTC', '2024-01-01Z', 100, 101, 99, 100, 1)"
        )
    report = run_pitr_drill(settings, database, now())
    assert (report.base, report.markers) == (first.name, ("before",))
    assert report.ladders == 1, "with a bar that only the WAL has"
    assert report.target_at.microsecond == 0
    assert report.wal_files > 0
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [first.name], (
        "the scratch server is gone"
    )
    with psycopg.connect(database.url_for("postgres")) as connection:
        assert connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%pitr%'").fetchall() == []
    second = create_base_backup(database, folder, now())
    before = sorted(path.name for path in archive.iterdir())
    plan = prune_base_backups(settings, database)
    assert [name for name, _ in plan.delete] == [first.name]
    assert [one.name for one in list_base_backups(folder)] == [second.name]
    assert plan.wal_from is not None
    left = [path.name for path in archive.iterdir() if not path.suffix]  # PostgreSQL 15 keeps the small history files
    assert min(left) == plan.wal_from > before[0]
    assert run_pitr_drill(settings, database, now()).base == second.name


@INSTALLED_SERVER
def test_a_flipped_bit_in_a_base_backup_is_detected_before_the_restore(
    archiving: tuple[Database, Path], settings: Settings
) -> None:
    database, _ = archiving
    made = create_base_backup(database, base_folder(settings), now())
    victim = max((made / "base").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(BackupError, match="pg_verifybackup ended with 1: .*checksum mismatch"):
        run_pitr_drill(settings, database, now())


@INSTALLED_SERVER
def test_disabled_archiving_is_an_error(archiving: tuple[Database, Path], settings: Settings, tmp_path: Path) -> None:
    database, _ = archiving
    with server_folder() as folder, EmbeddedServer(folder / "pg").running() as url:
        plain = Database(Database(url).url_for("postgres"))
        with pytest.raises(BackupError, match="does not archive WAL \\(archive_mode off"):
            run_pitr_drill(settings, plain, now())
    elsewhere = settings.model_copy(update={"backup": type(settings.backup)(wal_archive=tmp_path / "nowhere")})
    with pytest.raises(BackupError, match="`wal_archive` in \\[backup\\] must be the folder"):
        run_pitr_drill(elsewhere, database, now())


def archive_file(
    folder: Path, content: bytes, name: str = "000000010000000000000001"
) -> subprocess.CompletedProcess[str]:
    source = folder.with_name("source")
    source.write_bytes(content)
    return subprocess.run(["sh", SCRIPT, folder, source, name], capture_output=True, text=True, check=False)


def test_a_wal_file_is_archived_once_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "archive of wal"
    assert archive_file(folder, b"log").returncode == 4, "a folder that is not mounted is not created"
    folder.mkdir()
    (folder / ".000000010000000000000001.partial").write_bytes(b"left by a killed run")
    assert archive_file(folder, b"log").returncode == 0
    assert archive_file(folder, b"log").returncode == 0, "again, as after a crash"
    refused = archive_file(folder, b"another log")
    assert refused.returncode == 3
    assert "do two servers use this archive?" in refused.stderr
    assert [path.name for path in folder.iterdir()] == ["000000010000000000000001"]
    assert (folder / "000000010000000000000001").read_bytes() == b"log"
    assert archive_file(folder, b"log", "../escaped").returncode == 2
    assert subprocess.run(["sh", SCRIPT], capture_output=True, check=False).returncode == 2
