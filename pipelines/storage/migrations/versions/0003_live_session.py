"""The live session: ticks by day with what is derived from them, sessions that hand over, snapshots of their state."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    for name in ("0003_price_log.sql", "0003_session.sql", "0003_snapshots.sql", "0003_snapshot_views.sql"):
        run_migration_file(name)
