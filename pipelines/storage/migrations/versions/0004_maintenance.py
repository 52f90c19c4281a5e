"""What keeps the database healthy: autovacuum settings as a declared table, and a record of what was done."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    for name in ("0004_maintenance.sql", "0004_autovacuum.sql"):
        run_migration_file(name)
