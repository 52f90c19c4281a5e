"""Comments of tables and columns in plain terms."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    run_migration_file("0007_comments.sql")
