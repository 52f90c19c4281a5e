"""Reports and charts: written to the home folder, and kept where other machines can read them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from socket import gethostname

from pipelines.errors import NoDataError, SettingsError, SharedFilesError
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.files.listing import (
    MAX_STORED_BYTES,
    KeptIn,
    ListedFile,
    described,
    find_file,
    list_files,
    store_file,
    stored_content,
)
from pipelines.storage.files.places import Place, shared_place
from pipelines.storage.postgres.connection import Connection, Database, Role

#: Beginning of the names.
REPORTS = "reports/"


def share_reports(
    settings: Settings, database: Database, paths: Sequence[Path], log: Log, run_id: str | None = None
) -> list[str]:
    """Keep files of the home folder's `reports/` in the shared place, or small ones in the database; list them.

    Returns where each is: its location in the shared place, otherwise its path. What cannot be kept anywhere stays on
    this host, which is logged: a report must not fail the run whose result is stored already.
    """
    place = _place(settings, log)
    locations, kept = [], []
    for path in paths:
        location = place and _put(place, settings.home, path, log)
        if location is None:
            place = None  # one that does not answer costs time, so the other files do not try it
        kept_in = KeptIn.SHARED if location else KeptIn.DATABASE
        if location is None and path.stat().st_size > MAX_STORED_BYTES:
            kept_in = KeptIn.HOST
            log(
                f"{path} stays on {gethostname()}, where alone it can be read: it has {path.stat().st_size:,} bytes, "
                f"and the database keeps files of at most {MAX_STORED_BYTES:,}; set shared_files.url"
            )
        locations.append(location or str(path))
        kept.append(described(settings.home, path, kept_in, run_id))
    with database.connect("reports", Role.PIPELINE) as connection:
        for one in kept:
            store_file(connection, one)
    return locations


def read_report(settings: Settings, connection: Connection, name: str) -> bytes:
    """The content of a listed report. Raises NoDataError for another name, and SharedFilesError."""
    found = find_file(connection, name) if name.startswith(REPORTS) else None
    if found is None:
        raise NoDataError(f"there is no report {name!r}: `strikecast files list` shows what there is")
    match found.kept_in:
        case KeptIn.DATABASE:
            return stored_content(connection, name) or b""
        case KeptIn.SHARED:
            return _shared(settings, found)
    try:
        return (settings.home / name).read_bytes()
    except OSError as error:
        raise NoDataError(
            f"{name} is only on {found.host}: it has {found.size_bytes:,} bytes, and the database keeps at most "
            f"{MAX_STORED_BYTES:,} of a file; set shared_files.url there"
        ) from error


def list_reports(connection: Connection) -> list[ListedFile]:
    """The listed reports, by name."""
    return list_files(connection, REPORTS)


def _place(settings: Settings, log: Log) -> Place | None:
    try:
        return shared_place(settings.shared_files)
    except SettingsError as error:
        log(str(error))
        return None


def _put(place: Place, home: Path, path: Path, log: Log) -> str | None:
    name = path.relative_to(home).as_posix()
    try:
        place.put(path, name)
    except SharedFilesError as error:
        log(str(error))
        return None
    return place.location(name)


def _shared(settings: Settings, found: ListedFile) -> bytes:
    place, content = shared_place(settings.shared_files), BytesIO()
    if place is None:
        raise SharedFilesError(
            f"{found.name} is in the shared place of {found.host}: set shared_files.url to the same place here"
        )
    place.copy_to(found.name, content)
    return content.getvalue()
