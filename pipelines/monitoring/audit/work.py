"""What the system does: builds, files, backups, maintenance, logs, and how long somebody refreshed."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, one
from pipelines.domain.monitoring.audit.uptime import covered_seconds
from pipelines.live.file_reader import read_view
from pipelines.live.file_writer import probabilities_path
from pipelines.maintenance.backup import Backup, list_backups
from pipelines.maintenance.log_rotation import log_sizes
from pipelines.settings import Settings
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.monitoring.server_statistics import (
    first_build_at,
    first_session_at,
    read_builds,
    read_maintenance,
    read_session_spans,
    refreshed_since,
)
from pipelines.storage.postgres.connection import Connection

DAY = timedelta(days=1)
#: What two clocks on one machine may differ by.
CLOCKS_APART_SECONDS = 1.0


def files(settings: Settings, connection: Connection, now: datetime) -> Measured:
    """Age and size of each published symbol's file; `now` is aware UTC.

    Where sessions have run, a file that is not there, or cannot be read, is as old as the session that runs, or as the
    end of the last one; where none ever has, nobody promised a file.
    """
    figures: list[Figure] = []
    gaps: list[Gap] = []
    published = champion_generations(connection, list(settings.symbols))
    if not published:
        gaps.append(Gap("files", "no symbol has a published generation"))
    since = refreshed_since(connection)
    for symbol in published:
        view = read_view(settings.output_dir, symbol, now)
        if view.file_age_seconds is not None and view.file_age_seconds < -CLOCKS_APART_SECONDS:
            gaps.append(Gap(f"file of {symbol}", "it is dated ahead of the clock"))
        elif view.file_age_seconds is not None:
            figures.append(one("file_age", Unit.SECONDS, max(0.0, view.file_age_seconds), symbol=symbol))
            with suppress(FileNotFoundError):
                size = probabilities_path(settings.output_dir, symbol).stat().st_size
                figures.append(one("file_size", Unit.BYTES, size, symbol=symbol))
        elif since is not None:
            age = max(0.0, (now - since).total_seconds())
            figures.append(one("file_age", Unit.SECONDS, age, f"the file is {view.status}", symbol=symbol))
        else:
            gaps.append(Gap(f"file of {symbol}", "no live session has ever run"))
    return Measured(tuple(figures), tuple(gaps))


def records(settings: Settings, connection: Connection, now: datetime) -> Measured:
    """What the database has recorded of builds, maintenance, sessions, and for how long nobody backed it up."""
    figures: list[Figure] = []
    builds = read_builds(connection)
    for symbol, model, bars, rows, seconds, age in builds:
        of = {"symbol": symbol, "model": model}
        figures += [
            one("build_seconds", Unit.SECONDS, seconds, **of),
            one("build_age", Unit.SECONDS, age, **of),
            one("build_bars", Unit.COUNT, bars, **of),
            one("build_lookup_rows", Unit.COUNT, rows, **of),
        ]
    jobs = {run.job: run for run in read_maintenance(connection)}
    for run in jobs.values():
        figures += [
            one("maintenance_age", Unit.SECONDS, run.age_seconds, job=run.job),
            one("maintenance_seconds", Unit.SECONDS, run.seconds, job=run.job),
        ]
        results = {
            "rows_removed": run.rows_removed,
            "dead_rows_cleared": run.dead_rows_cleared,
            "steps_left": run.steps_left,
        }
        figures += [
            one("maintenance_result", Unit.COUNT, value, job=run.job, what=what)
            for what, value in results.items()
            if value is not None
        ]
    backed_up = [backup.manifest.snapshot_at for backup in _sound_backups(settings)]
    since = {"backup": (now - max(backed_up)).total_seconds()} if backed_up else {}
    since |= {"retention": jobs["retention"].age_seconds} if "retention" in jobs else {}
    return Measured(tuple(figures)) + _without(connection, since, now) + _availability(connection, now)


def _without(connection: Connection, since: Mapping[str, float], now: datetime) -> Measured:
    """How long the data has been without a backup, and without retention: since the last one, or since it is there."""
    figures = [one(f"without_{what}", Unit.SECONDS, max(0.0, age)) for what, age in since.items()]
    missing = [what for what in ("backup", "retention") if what not in since]
    began = first_build_at(connection) if missing else None
    if began is None:
        return Measured(
            tuple(figures), tuple(Gap(f"time without {what}", "nothing has been built") for what in missing)
        )
    age = (now - began).total_seconds()
    figures += [one(f"without_{what}", Unit.SECONDS, age, "there was none yet") for what in missing]
    return Measured(tuple(figures))


def _availability(connection: Connection, now: datetime) -> Measured:
    """Share of the last day that sessions covered, or of the time since the first one began."""
    spans = read_session_spans(connection, now - DAY)
    first_at = first_session_at(connection)
    if first_at is None:
        return Measured((), (Gap("availability", "no live session has ever run"),))
    start = max(now - DAY, first_at)
    possible = (now - start).total_seconds()
    if possible <= 0:
        return Measured((), (Gap("availability", "the first live session has just begun"),))
    share = 100.0 * covered_seconds(spans, start, now) / possible
    return Measured((one("session_availability", Unit.PERCENT, share),))


def _sound_backups(settings: Settings) -> list[Backup]:
    """Newest first."""
    return [backup for backup in list_backups(settings.backups_dir) if backup.problem is None]


def kept(settings: Settings, now: datetime) -> Measured:
    """Backups and logs on disk."""
    figures = [one("log_size", Unit.BYTES, size, log=family) for family, size in log_sizes(settings).items()]
    sound = _sound_backups(settings)
    if not sound:
        return Measured(tuple(figures), (Gap("backups", "there is no sound one"),))
    newest = sound[0].manifest
    figures += [
        one("backup_age", Unit.SECONDS, (now - newest.snapshot_at).total_seconds()),
        one("backup_size", Unit.BYTES, newest.bytes),
        one("backup_of_database", Unit.PERCENT, 100.0 * newest.bytes / newest.server_size_bytes),
        one("backup_seconds", Unit.SECONDS, newest.seconds),
    ]
    return Measured(tuple(figures))
