"""What the system does: builds, files, backups, maintenance, logs, and how long somebody refreshed."""

from datetime import datetime, timedelta

from pipelines.domain.audit.figures import Figure, Gap, Measured, Unit, one
from pipelines.domain.audit.uptime import covered_seconds
from pipelines.live.output import probabilities_path
from pipelines.live_files import read_view
from pipelines.maintenance.backup import backups
from pipelines.maintenance.logs import sizes
from pipelines.settings import Settings
from pipelines.storage.audit import read_builds, read_maintenance, read_session_spans
from pipelines.storage.database import Connection
from pipelines.storage.live import champion_generations

DAY = timedelta(days=1)


def files(settings: Settings, connection: Connection, now: datetime) -> Measured:
    """Age and size of each published symbol's file; `now` is aware UTC."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    for symbol in champion_generations(connection, list(settings.symbols)):
        view = read_view(settings.output_dir, symbol, now)
        if view.file_age_seconds is None:
            gaps.append(Gap(f"file of {symbol}", "; ".join(view.reasons) or str(view.status)))
            continue
        size = probabilities_path(settings.output_dir, symbol).stat().st_size
        figures += [
            one("file_age", Unit.SECONDS, view.file_age_seconds, symbol=symbol),
            one("file_size", Unit.BYTES, size, symbol=symbol),
        ]
    return Measured(tuple(figures), tuple(gaps))


def records(connection: Connection, now: datetime) -> Measured:
    """What the database has recorded of builds, maintenance and sessions."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    for symbol, model, bars, rows, seconds, age in read_builds(connection):
        of = {"symbol": symbol, "model": model}
        figures += [
            one("build_seconds", Unit.SECONDS, seconds, **of),
            one("build_age", Unit.SECONDS, age, **of),
            one("build_bars", Unit.COUNT, bars, **of),
            one("build_lookup_rows", Unit.COUNT, rows, **of),
        ]
    for job, age, seconds in read_maintenance(connection):
        figures += [
            one("maintenance_age", Unit.SECONDS, age, job=job),
            one("maintenance_seconds", Unit.SECONDS, seconds, job=job),
        ]
    spans = read_session_spans(connection, now - DAY)
    if spans:
        start = max(now - DAY, min(began for began, _ in spans))
        possible = (now - start).total_seconds()
        share = 100.0 * covered_seconds(spans, start, now) / possible if possible > 0 else 0.0
        figures.append(one("session_availability", Unit.PERCENT, share))
    else:
        gaps.append(Gap("availability", "there was no live session within a day"))
    return Measured(tuple(figures), tuple(gaps))


def kept(settings: Settings, now: datetime) -> Measured:
    """Backups and logs on disk."""
    figures = [one("log_size", Unit.BYTES, size, log=family) for family, size in sizes(settings).items()]
    sound = [backup for backup in backups(settings.backups_dir) if backup.problem is None]
    if not sound:
        return Measured(tuple(figures), (Gap("backups", f"there is no sound backup in {settings.backups_dir}"),))
    newest = sound[0].manifest
    figures += [
        one("backup_age", Unit.SECONDS, (now - newest.snapshot_at).total_seconds()),
        one("backup_size", Unit.BYTES, newest.bytes),
        one("backup_of_database", Unit.PERCENT, 100.0 * newest.bytes / newest.server_size_bytes),
        one("backup_seconds", Unit.SECONDS, newest.seconds),
    ]
    return Measured(tuple(figures))
