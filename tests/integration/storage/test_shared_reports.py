"""Reports that one machine writes are read on another: from a folder, from S3, or from the database."""

import sys
from pathlib import Path

import pytest
from s3_server import BUCKET, SECRET, S3Server
from shared_places import Machine, prepared
from small_disks import small_disk

from pipelines.errors import NoDataError, SettingsError, SharedFilesError
from pipelines.service.dagster_home import write_dagster_home
from pipelines.settings import Settings
from pipelines.storage.files import places
from pipelines.storage.files.listing import MAX_STORED_BYTES, KeptIn
from pipelines.storage.files.reports import list_reports, read_report, share_reports
from pipelines.storage.postgres.connection import Database, Role

PAGE = "reports/btc_calibration.html"
CHART = "reports/charts/btc_season.png"


def write(settings: Settings, name: str, content: bytes) -> Path:
    path = settings.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def share(settings: Settings, database: Database, *paths: Path) -> tuple[list[str], list[str]]:
    """Where the reports are, and what was logged."""
    log: list[str] = []
    return share_reports(settings, database, paths, log.append, "run-1"), log


def read(settings: Settings, database: Database, name: str) -> bytes:
    with database.connect("test", Role.READER) as connection:
        return read_report(settings, connection, name)


def kept(database: Database) -> dict[str, tuple[KeptIn, str]]:
    with database.connect("test", Role.READER) as connection:
        return {one.name: (one.kept_in, one.host) for one in list_reports(connection)}


def test_reports_of_a_worker_are_read_on_the_host_from_the_shared_place(
    database: Database, machine: Machine, shared_url: str
) -> None:
    worker = machine("worker", shared_url)
    paths = [write(worker, PAGE, b"<html>first"), write(worker, CHART, b"\x89PNG")]
    assert share(worker, database, *paths) == ([f"{shared_url}/{PAGE}", f"{shared_url}/{CHART}"], [])
    host = machine("host", shared_url)
    assert (read(host, database, PAGE), read(host, database, CHART)) == (b"<html>first", b"\x89PNG")
    share(worker, database, write(worker, PAGE, b"<html>second"))
    assert read(host, database, PAGE) == b"<html>second"
    assert kept(database)[PAGE] == (KeptIn.SHARED, "host")
    with pytest.raises(SharedFilesError, match="set shared_files.url to the same place here"):
        read(machine("host"), database, PAGE)


def test_without_a_shared_place_small_reports_are_read_from_the_database(database: Database, machine: Machine) -> None:
    worker = machine("worker")
    path, largest = write(worker, PAGE, b"<html>"), write(worker, CHART, bytes(MAX_STORED_BYTES))
    assert share(worker, database, path, largest) == ([str(path), str(largest)], [])
    assert kept(database) == {PAGE: (KeptIn.DATABASE, "worker"), CHART: (KeptIn.DATABASE, "worker")}
    host = machine("host")
    assert read(host, database, PAGE) == b"<html>"
    assert len(read(host, database, CHART)) == MAX_STORED_BYTES
    assert not host.home.exists()


def test_a_report_that_is_too_large_for_the_database_is_reported_where_it_is_written_and_read(
    database: Database, machine: Machine
) -> None:
    worker = machine("worker")
    _, log = share(worker, database, write(worker, PAGE, bytes(MAX_STORED_BYTES + 1)))
    assert [f"{PAGE} stays on" in line and "set shared_files.url" in line for line in log] == [True]
    assert len(read(worker, database, PAGE)) == MAX_STORED_BYTES + 1
    with pytest.raises(NoDataError, match=r"is only on worker: it has 1,048,577 bytes"):
        read(machine("host"), database, PAGE)


def test_names_that_are_not_listed_are_not_read(database: Database, machine: Machine) -> None:
    settings = machine("host")
    write(settings, "alerts.json", b"{}")
    for name in ("reports/../alerts.json", "alerts.json", "/etc/passwd", "reports/none.html", ""):
        with pytest.raises(NoDataError, match="there is no report"):
            read(settings, database, name)


def test_reports_are_kept_in_the_database_while_the_s3_server_is_down(
    database: Database, machine: Machine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        places, "S3_TIMEOUTS", {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 1}}
    )
    worker = machine("worker", f"s3://{BUCKET}")
    path = write(worker, PAGE, b"<html>down")
    s3.kill()
    chart = write(worker, CHART, b"chart")
    locations, log = share(worker, database, path, chart)
    assert (locations, len(log)) == ([str(path), str(chart)], 1)
    assert f"s3://{BUCKET}/{PAGE} cannot be stored: " in log[0]
    assert s3.endpoint in log[0]
    assert "test-secret" not in log[0]
    assert read(machine("host"), database, PAGE) == b"<html>down"
    s3.start()
    s3.suspend()
    assert len(share(worker, database, path)[1]) == 1
    s3.kill()
    s3.start()
    assert share(worker, database, path) == ([f"s3://{BUCKET}/{PAGE}"], [])
    s3.kill()
    with pytest.raises(SharedFilesError, match=f"s3://{BUCKET}/{PAGE} cannot be read: "):
        read(worker, database, PAGE)


@pytest.mark.parametrize(
    ("bucket", "secret", "reason"), [("missing", SECRET, "NoSuchBucket"), (BUCKET, "wrong", "SignatureDoesNotMatch")]
)
def test_a_wrong_bucket_or_key_is_named(
    database: Database,
    machine: Machine,
    s3: S3Server,
    bucket: str,
    secret: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    worker = machine("worker", f"s3://{bucket}")
    _, [line] = share(worker, database, write(worker, PAGE, b"x"))
    assert line.startswith(f"s3://{bucket}/{PAGE} cannot be stored: ")
    assert reason in line


@pytest.mark.parametrize("exists", [False, True])
def test_a_shared_folder_that_is_not_mounted_is_not_written_to(
    database: Database, machine: Machine, tmp_path: Path, exists: bool
) -> None:
    worker = machine("worker", str(tmp_path / "mount"))
    if exists:
        (tmp_path / "mount").mkdir()
    path = write(worker, PAGE, b"<html>")
    locations, [line] = share(worker, database, path)
    assert locations == [str(path)]
    assert "has no file .strikecast-files: mount it, or prepare a new one by `strikecast files share`" in line
    assert list(tmp_path.glob("mount/*")) == []
    assert kept(database)[PAGE] == (KeptIn.DATABASE, "worker")


@pytest.mark.needs("a mount")
def test_a_full_shared_folder_is_reported_and_leaves_no_partial_file(
    database: Database, machine: Machine, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "mount", "1m") as mount:
        worker = machine("worker", str(prepared(mount)))
        _, log = share(worker, database, write(worker, PAGE, bytes(2 << 20)))
        assert "No space left on device" in log[0]
        assert "stays on" in log[1]
        assert [path.name for path in mount.rglob("*") if path.is_file()] == [places.MARKER]


def test_without_its_packages_s3_is_refused_with_the_extra(
    database: Database, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    worker = machine("worker", f"s3://{BUCKET}")
    _, [line] = share(worker, database, write(worker, PAGE, b"<html>"))
    assert "install strikecast[s3] on each machine" in line
    with pytest.raises(SettingsError, match=r"install strikecast\[s3\]"):
        places.shared_place(worker.shared_files)
    with pytest.raises(SettingsError, match=r"install strikecast\[s3\]"):
        write_dagster_home(worker)
