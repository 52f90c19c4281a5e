"""The archive in a shared place: copied and read back before rows are deleted, and read on every machine."""

from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, rmtree

import pytest
from s3_server import BUCKET, S3Server
from shared_places import Machine

from pipelines.errors import BuildError, SharedFilesError
from pipelines.maintenance.archive import run
from pipelines.settings import Settings
from pipelines.storage.files import places
from pipelines.storage.files.archive import Archive
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.archive import archived_months
from pipelines.storage.queries.query import run_query

NOW = datetime(2025, 6, 15, tzinfo=UTC)
COUNT = "SELECT count(*), count(DISTINCT opened_at), count(*) FILTER (archived) FROM price"
JANUARY, FEBRUARY, MARCH, ALL = 31 * 24, 28 * 24, 31 * 24, 165 * 24
PATIENCE = {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 1}}


@pytest.fixture(autouse=True)
def one_an_hour(database: Database) -> None:
    """A bar at each full hour of BTC from January to mid June; nothing is archived."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute("TRUNCATE historical_data.price_history, historical_data.momentum, ops.file")
        connection.execute(
            "INSERT INTO historical_data.price_history SELECT 'BTC', at, 100, 102, 99, 100.5, 0.1 "
            "FROM generate_series('2025-01-01Z'::timestamptz, '2025-06-14 23:00Z', '1 hour') AS at"
        )


def copies(tmp_path: Path) -> list[Path]:
    """The copies of January in the shared place of `shared_url`."""
    return sorted(tmp_path.glob("mount/archive/BTC/*2025-01*")) + sorted(
        tmp_path.glob("s3/*/team/archive/BTC/*2025-01*")
    )


def add_a_bar(database: Database) -> None:
    """Store a bar of January that was missing."""
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO historical_data.price_history VALUES ('BTC', '2025-01-05 00:30Z', 50, 60, 40, 55, 7)"
        )


def bars(database: Database) -> int:
    with database.connect("test", Role.READER) as connection:
        return int(connection.execute("SELECT count(*) FROM historical_data.price_history").fetchone()[0])  # type: ignore[index]


def query(settings: Settings, database: Database, log: list[str] | None = None) -> tuple[object, ...]:
    """Bars, distinct bars and archived bars that a query on this machine finds."""
    heard: list[str] = []
    with database.connect("test", Role.READER) as connection:
        folder = Archive.of(settings).complete(connection, (heard if log is None else log).append)
        with run_query(connection, folder, COUNT) as result:
            [row] = result.rows()
    assert not heard
    return row


def test_every_machine_reads_the_archive_of_one(database: Database, machine: Machine, shared_url: str) -> None:
    host = machine("host", shared_url)
    assert [one.removed for one in run(host, database, NOW).months] == [JANUARY, FEBRUARY, MARCH]
    assert query(host, database) == (ALL, ALL, JANUARY + FEBRUARY + MARCH)
    worker = machine("worker", shared_url)
    assert query(worker, database) == (ALL, ALL, JANUARY + FEBRUARY + MARCH)
    with database.connect("test", Role.PIPELINE) as connection:
        assert len(archived_months(connection, worker.home / "nothing here", "BTC")) == 3


def test_fetched_files_are_kept_until_another_host_archives_more(
    database: Database, machine: Machine, shared_url: str, tmp_path: Path
) -> None:
    run(machine("host", shared_url), database, NOW)
    worker = machine("worker", shared_url)
    query(worker, database)
    path = worker.archive_dir / "BTC" / "btc_1m_2025-01.parquet"
    before = path.stat()
    query(worker, database)
    assert path.stat() == before
    add_a_bar(database)
    other = machine("other", shared_url)
    [month] = run(other, database, NOW).months
    assert (month.rows, month.removed) == (JANUARY + 1, 1)
    assert query(worker, database) == (ALL + 1, ALL + 1, JANUARY + FEBRUARY + MARCH + 1)
    assert path.stat().st_mtime_ns != before.st_mtime_ns
    assert len(copies(tmp_path)) == 2


@pytest.mark.parametrize("fault", ["killed", "hanging"])
def test_a_server_that_fails_between_two_months_loses_nothing(
    database: Database, machine: Machine, s3: S3Server, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "S3_TIMEOUTS", PATIENCE)
    host = machine("host", f"s3://{BUCKET}")
    log: list[str] = []

    def fail_after_the_first(text: str) -> None:
        log.append(text)
        if len(log) == 1:
            (s3.kill if fault == "killed" else s3.suspend)()

    with pytest.raises(BuildError, match=r"btc_1m_2025-02.parquet cannot be archived: .*nothing was removed") as caught:
        run(host, database, NOW, fail_after_the_first)
    assert f"s3://{BUCKET}/archive/BTC/btc_1m_2025-02." in str(caught.value)
    assert bars(database) == ALL - JANUARY
    s3.kill()
    s3.start()
    assert query(machine("worker", f"s3://{BUCKET}"), database) == (ALL, ALL, JANUARY)
    assert [one.removed for one in run(machine("host", f"s3://{BUCKET}"), database, NOW).months] == [FEBRUARY, MARCH]
    assert query(machine("worker", f"s3://{BUCKET}"), database) == (ALL, ALL, JANUARY + FEBRUARY + MARCH)


def test_a_copy_that_does_not_read_back_equal_removes_nothing(
    database: Database, machine: Machine, shared_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine("host", shared_url)
    original = places.SharedFolder.put if shared_url.startswith("/") else places.S3Prefix.put

    def damage(place: places.SharedFolder, path: Path, name: str) -> None:
        damaged = tmp_path / "damaged"
        damaged.write_bytes(path.read_bytes()[:-1] + b"!")
        original(place, damaged, name)  # type: ignore[arg-type]

    monkeypatch.setattr(places.SharedFolder if shared_url.startswith("/") else places.S3Prefix, "put", damage)
    with pytest.raises(BuildError, match="was not read back as it was written; nothing was removed"):
        run(host, database, NOW)
    assert bars(database) == ALL


def test_a_damaged_or_missing_copy_is_an_error_and_not_fewer_bars(
    database: Database, machine: Machine, shared_url: str, tmp_path: Path
) -> None:
    run(machine("host", shared_url), database, NOW)
    [copy] = copies(tmp_path)
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"!")
    worker = machine("worker", shared_url)
    with pytest.raises(SharedFilesError, match="is damaged: its SHA-256 is"):
        query(worker, database)
    assert not (worker.archive_dir / "BTC" / "btc_1m_2025-01.parquet").exists()
    copy.unlink()
    with pytest.raises(SharedFilesError, match=r"btc_1m_2025-01.*cannot be read"):
        query(worker, database)
    assert query(machine("host", shared_url), database) == (ALL, ALL, JANUARY + FEBRUARY + MARCH)


def test_a_shared_folder_that_is_not_mounted_removes_nothing(
    database: Database, machine: Machine, tmp_path: Path
) -> None:
    host = machine("host", str(tmp_path / "mount"))
    with pytest.raises(BuildError, match=r"has no file .strikecast-files: mount it.*nothing was removed"):
        run(host, database, NOW)
    assert bars(database) == ALL
    assert not (tmp_path / "mount").exists()


def test_without_a_shared_place_another_machine_logs_what_it_lacks(database: Database, machine: Machine) -> None:
    run(machine("host"), database, NOW)
    log: list[str] = []
    worker = machine("worker")
    assert query(worker, database, log) == (ALL - JANUARY - FEBRUARY - MARCH,) * 2 + (0,)
    assert log == ["3 archived months are left out: they are only on host; set shared_files.url"]
    add_a_bar(database)
    with pytest.raises(BuildError, match=r"is only on host: archive there, or copy it to .*nothing was removed"):
        run(worker, database, NOW)
    assert query(machine("host"), database)[0] == ALL + 1


def test_an_older_copy_of_a_month_is_never_shared(
    database: Database, machine: Machine, shared_url: str, tmp_path: Path
) -> None:
    run(machine("host"), database, NOW)
    copytree(tmp_path / "host" / "archive", tmp_path / "worker" / "archive")
    add_a_bar(database)
    run(machine("host"), database, NOW)
    worker = machine("worker", shared_url)
    with database.connect("test", Role.PIPELINE, autocommit=True) as connection:
        shared = Archive.of(worker).share(connection, lambda _: None)
    assert [path.name for path in shared] == ["btc_1m_2025-02.parquet", "btc_1m_2025-03.parquet"]
    assert query(machine("host", shared_url), database)[0] == ALL + 1


def test_an_archive_of_before_the_shared_place_is_shared_once(
    database: Database, machine: Machine, shared_url: str, tmp_path: Path
) -> None:
    run(machine("host"), database, NOW)
    host = machine("host", shared_url)
    with database.connect("test", Role.PIPELINE, autocommit=True) as connection:
        archive = Archive.of(host)
        assert archive.probe().rstrip("/") == shared_url
        log: list[str] = []
        assert len(archive.share(connection, log.append)) == len(log) == 3
        assert archive.share(connection, log.append) == []
        [copy] = copies(tmp_path)
        copy.write_bytes(copy.read_bytes()[:-1] + b"!")
        assert [path.name for path in archive.share(connection, log.append)] == ["btc_1m_2025-01.parquet"]
    rmtree(host.archive_dir)
    assert query(host, database) == (ALL, ALL, JANUARY + FEBRUARY + MARCH)
