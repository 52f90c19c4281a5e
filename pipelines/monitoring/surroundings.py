"""Disks, replication slots and clocks that the system depends on, where they can be seen."""

import ctypes
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

from pipelines.configuration.sections import FeedKind
from pipelines.domain.monitoring.alerts import DiskFacts, Problem, Surroundings, surroundings_problems
from pipelines.domain.monitoring.audit.measurements import Detection, Measurements, Unit
from pipelines.processes.priority import is_local
from pipelines.settings import Settings
from pipelines.storage.monitoring import server_state
from pipelines.storage.postgres.connection import Connection

#: Size of `struct timex`, of which only the return value of `adjtimex` is used, and that value when unsynchronised.
TIMEX_BYTES, TIME_ERROR = 512, 5
#: Kind of the audit's detection by the first word of a problem's key.
KINDS = {"disk": "low disk", "slot": "unread replication slot", "clock": "wrong clock"}


def places(settings: Settings, data_directory: Path | None = None) -> dict[str, Path]:
    """The folders that the system writes to, by what they hold; with the data of a server on this machine."""
    found = {
        "the home folder": settings.home,
        "the probability files": settings.output_dir,
        "the backups": settings.backups_dir,
        "the archive": settings.archive_dir,
        "the reports": settings.reports_dir,
        "Dagster": settings.dagster_home,
        "temporary files": Path(gettempdir()),
    }
    if settings.backup.wal_archive is not None:
        found["the WAL archive"] = settings.backup.wal_archive
    if data_directory is not None:
        found |= {"PostgreSQL's data": data_directory, "PostgreSQL's WAL": data_directory / "pg_wal"}
    return found


def read_disks(folders: Mapping[str, Path]) -> list[DiskFacts]:
    """The disks of these folders, each once; without folders that do not exist, or cannot be seen."""
    devices: dict[int, dict[str, Path]] = {}
    for what, folder in folders.items():
        with suppress(OSError):
            devices.setdefault(folder.stat().st_dev, {})[what] = folder
    found = []
    for shared in devices.values():
        first, *others = shared
        with suppress(OSError):
            usage = shutil.disk_usage(shared[first])
            found.append(DiskFacts(first, usage.free, usage.total, str(shared[first]), tuple(others)))
    return found


def server_directory(connection: Connection) -> Path | None:
    """The data directory of a server on this machine; None for another one, or without the right to see it."""
    return server_state.data_directory(connection) if is_local(connection) else None


def disk_problems(settings: Settings, directory: Path | None) -> list[Problem]:
    """The disks without enough space; `directory`: of the server's data, if it is known."""
    return surroundings_problems(Surroundings(read_disks(places(settings, directory))), settings.alerts)


def read_server(settings: Settings, connection: Connection) -> Surroundings:
    """Replication slots, and the clocks of the database server and of the price sources; no disks."""
    clocks = [server_state.read_server_clock(connection)]
    if settings.feed is not FeedKind.REPLAY:
        clocks += server_state.read_source_clocks(connection, list(settings.symbols))
    return Surroundings((), server_state.read_slots(connection), clocks)


def read_surroundings(settings: Settings, connection: Connection) -> Surroundings:
    """As `read_server`, with the disks."""
    disks = read_disks(places(settings, server_directory(connection)))
    return replace(read_server(settings, connection), disks=disks)


def measure(settings: Settings, connection: Connection) -> Measurements:
    """Free space by disk, WAL by slot, differences between clocks; their problems, as the alerts judge them."""
    measured, found = Measurements(), read_surroundings(settings, connection)
    for disk in found.disks:
        measured.add("disk_free", Unit.BYTES, disk.free_bytes, ", ".join(disk.also), of=disk.what)
    for slot in found.slots:
        measured.add(
            "slot_retained", Unit.BYTES, slot.retained_bytes, "read" if slot.is_active else "unread", slot=slot.name
        )
    for clock in found.clocks:
        measured.add("clock_ahead", Unit.SECONDS, clock.ahead_seconds, of=clock.of)
    measured.add("clock_synchronised", Unit.COUNT, clock_is_synchronised())
    for problem in surroundings_problems(found, settings.alerts):
        kind, _, subject = problem.key.partition(" ")
        measured.detections.append(Detection(KINDS[kind], subject, problem.message))
    return measured


def clock_is_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined by a time service; None where the system does not say."""
    with suppress(AttributeError, OSError):
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
        return None if state < 0 else state != TIME_ERROR
    return None
