"""Counts of rows that are neither stored nor quarantined; a faster first load."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0008_ingestion.sql")
