"""Records of the system's work: builds, files, backups, maintenance, logs, live sessions."""

from contextlib import suppress
from datetime import datetime

from pipelines.domain.maintenance.backups import Manifest
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit
from pipelines.live.probability_reader import read_view
from pipelines.live.probability_writer import probabilities_path
from pipelines.maintenance.backup import list_backups
from pipelines.maintenance.log_rotation import log_sizes
from pipelines.settings import Settings
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.monitoring import measurements
from pipelines.storage.postgres.connection import Connection

#: Tolerated difference between the clock of the file system and this machine's.
CLOCK_SKEW_SECONDS = 1.0


def measure_files(settings: Settings, connection: Connection, now: datetime) -> Measurements:
    """Age and size of each published symbol's probability file; `now` is aware UTC.

    A missing or unreadable file is as old as the running session, or the end of the last one. Before the first session
    no file is expected.
    """
    found = Measurements()
    published = champion_generations(connection, list(settings.symbols))
    if not published:
        found.add_gap("files", "no symbol has a published generation")
    since = measurements.refreshed_since(connection)
    for symbol in published:
        view = read_view(settings.output_dir, symbol, now)
        if view.file_age_seconds is not None and view.file_age_seconds < -CLOCK_SKEW_SECONDS:
            found.add_gap(f"file of {symbol}", "its time is in the future")
        elif view.file_age_seconds is not None:
            found.add("file_age", Unit.SECONDS, max(0.0, view.file_age_seconds), symbol=symbol)
            with suppress(FileNotFoundError):
                size = probabilities_path(settings.output_dir, symbol).stat().st_size
                found.add("file_size", Unit.BYTES, size, symbol=symbol)
        elif since is not None:
            age = max(0.0, (now - since).total_seconds())
            found.add("file_age", Unit.SECONDS, age, f"the file is {view.status}", symbol=symbol)
        else:
            found.add_gap(f"file of {symbol}", "no live session has ever run")
    return found


def measure_records(settings: Settings, connection: Connection, now: datetime) -> Measurements:
    """Builds, maintenance runs, availability of live sessions, time since the last backup and retention."""
    found = measurements.measure_records(connection, now)
    since = {f"without_{one.labels['job']}": one.value for one in found.items if one.name == "maintenance_age"}
    valid = _valid_backups(settings)
    if valid:
        since["without_backup"] = (now - valid[0].snapshot_at).total_seconds()
    first = found.values().get("first_build_age")
    for name in ("without_backup", "without_retention"):
        if name in since:
            found.add(name, Unit.SECONDS, max(0.0, since[name]))
        elif first is not None:
            found.add(name, Unit.SECONDS, first, "there was none yet")
        else:
            found.add_gap(name, "nothing has been built")
    return found


def measure_backups_and_logs(settings: Settings, now: datetime) -> Measurements:
    """The newest valid backup, and sizes of log files."""
    found = Measurements()
    for family, size in log_sizes(settings).items():
        found.add("log_size", Unit.BYTES, size, log=family)
    valid = _valid_backups(settings)
    for newest in valid[:1]:
        found.add("backup_age", Unit.SECONDS, (now - newest.snapshot_at).total_seconds())
        found.add("backup_size", Unit.BYTES, newest.bytes)
        found.add("backup_of_database", Unit.PERCENT, 100.0 * newest.bytes / newest.server_size_bytes)
        found.add("backup_seconds", Unit.SECONDS, newest.seconds)
    if not valid:
        found.add_gap("backups", "there is no valid backup")
    return found


def _valid_backups(settings: Settings) -> list[Manifest]:
    """Manifests of valid backups, newest first."""
    return [backup.manifest for backup in list_backups(settings.backups_dir) if backup.problem is None]
