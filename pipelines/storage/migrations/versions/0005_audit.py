"""Audits of the system by itself."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    run_migration_file("0005_auditor.sql", as_owner=False)
    run_migration_file("0005_audit.sql")
