"""Audits that time operations, and targets of one of several figures of a name."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0006_audit_operations.sql")
