"""What keeps the database safe at night."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.describe import OWNERS
from assets.housekeeping import GROUP, fresh
from pipelines.errors import BackupError, StrikecastError
from pipelines.maintenance.backup import create_backup, find_backup, list_backups, rotate_backups
from pipelines.maintenance.backup_copies import rotate_copies
from pipelines.maintenance.restore import drill
from pipelines.resources import Strikecast

SHOWN_TABLES = 10


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "shell"},
    code_version="1",
    pool="backup",
    freshness_policy=fresh("backup"),
)
def backup(context: dg.AssetExecutionContext, strikecast: Strikecast) -> Iterator[dg.MaterializeResult]:
    """A dump of the whole database with its manifest, read back, in the folder of backups; older ones are rotated.

    Fails after it has told of the backup when the copy in the second place could not be made.
    """
    settings, now = strikecast.settings(), datetime.now(UTC)
    made = create_backup(
        strikecast.database(),
        settings.backups_dir,
        context.log.info,
        compression=settings.backup.compression,
        encrypt_to=settings.backup.encrypt_to,
        copy_to=settings.backup.copy_to,
    )
    decided = rotate_backups(settings.backups_dir, settings.backup, now, context.log.info)
    manifest = made.manifest
    largest = sorted(manifest.tables, key=lambda one: one.rows, reverse=True)[:SHOWN_TABLES]
    plan = [
        *(f"| {name} | kept | {why} |" for name, why in decided.keep),
        *(f"| {name} | deleted | {why} |" for name, why in decided.delete),
    ]
    yield dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(made.folder)),
            "snapshot_at": dg.MetadataValue.timestamp(manifest.snapshot_at),
            "bytes": manifest.bytes,
            "database_bytes": manifest.server_size_bytes,
            "rows": manifest.rows,
            "seconds": manifest.seconds,
            "compression": manifest.compression,
            "encryption": manifest.encryption or "none",
            "copied_to": settings.backup.copy_to or "nowhere",
            "tables": len(manifest.tables),
            "largest_tables": dg.MetadataValue.md(
                "\n".join(["| table | rows |", "|---|---:|", *(f"| {one.table} | {one.rows:,} |" for one in largest)])
            ),
            "rotation": dg.MetadataValue.md("\n".join(["| backup | | why |", "|---|---|---|", *plan])),
            "backups": len(decided.keep),
        }
    )
    if made.copy_problem is not None:
        raise BackupError(made.copy_problem)
    if settings.backup.copy_to is not None:
        rotate_copies(settings.backup.copy_to, settings.backup, now, context.log.info)


@dg.asset_check(
    asset=backup,
    description="The newest backup restores into a scratch database, where every table has the rows and the content "
    "that it had when the backup was made, and each published symbol answers a ladder.",
    pool="backup",
)
def restores(context: dg.AssetCheckExecutionContext, strikecast: Strikecast) -> dg.AssetCheckResult:
    """The restore drill."""
    settings, database = strikecast.settings(), strikecast.database()
    try:
        newest = find_backup(settings.backups_dir, None)
        done = drill(settings, database, newest, datetime.now(UTC), context.log.info)
    except StrikecastError as error:
        return dg.AssetCheckResult(passed=False, metadata={"problem": str(error)})
    return dg.AssetCheckResult(
        passed=not done.differences,
        metadata={
            "backup": done.backup,
            "tables": done.tables,
            "rows": done.rows,
            "ladders_read": done.ladders,
            "seconds": round(done.seconds, 1),
            "backups": len(list_backups(settings.backups_dir)),
            **(
                {"differences": dg.MetadataValue.md("\n".join(f"- {one}" for one in done.differences))}
                if done.differences
                else {}
            ),
        },
    )
