"""Record why a live session cannot write its files."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0010_session_write_failure.sql")
