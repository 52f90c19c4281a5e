"""Records of the system's work: builds, files, backups, maintenance, logs, live sessions."""

from contextlib import suppress
from datetime import datetime

from pipelines.domain.maintenance.backups import Manifest
from pipelines.domain.models.freshness import STALE_AFTER_SECONDS, Cause
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit
from pipelines.live.probability_reader import View, read_view
from pipelines.live.probability_writer import probabilities_path
from pipelines.maintenance.backup import list_backups
from pipelines.maintenance.log_rotation import log_sizes
from pipelines.settings import Settings
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.monitoring import measurements
from pipelines.storage.postgres.connection import Connection


def measure_files(settings: Settings, connection: Connection, now: datetime) -> Measurements:
    """Size, ages and freshness of each published symbol's probability file; `now` is aware UTC."""
    found = Measurements()
    published = champion_generations(connection, list(settings.symbols))
    if not published:
        found.add_gap("files", "no symbol has a published generation")
    since = measurements.refreshed_since(connection)
    for symbol in published:
        found.extend(measure_file(read_view(settings.output_dir, symbol, now), since, now))
        with suppress(FileNotFoundError):
            size = probabilities_path(settings.output_dir, symbol).stat().st_size
            found.add("file_size", Unit.BYTES, size, symbol=symbol)
    return found


def measure_file(view: View, since: datetime | None, now: datetime) -> Measurements:
    """Ages of a file; `answer_age` is the age by the judgement of `freshness`, which the target applies to.

    Without a readable file it is the time since `since`: when the running session began, or the last one ended. Before
    the first session no file is expected.
    """
    found, freshness = Measurements(), view.freshness
    note = "; ".join(freshness.reasons)
    if freshness.cause is Cause.CLOCK:
        found.add_gap(f"file of {view.symbol}", note)
    elif freshness.age_seconds is not None:
        found.add("answer_age", Unit.SECONDS, freshness.age_seconds, note, symbol=view.symbol)
        found.add("file_age", Unit.SECONDS, max(0.0, view.file_age_seconds or 0.0), symbol=view.symbol)
        found.add("price_age", Unit.SECONDS, max(0.0, view.price_age_seconds or 0.0), symbol=view.symbol)
    elif since is not None:
        age = max(STALE_AFTER_SECONDS, (now - since).total_seconds())
        found.add("answer_age", Unit.SECONDS, age, f"the file is {freshness.status}", symbol=view.symbol)
    else:
        found.add_gap(f"file of {view.symbol}", "no live session has ever run")
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
