"""The running `strikecast up`, one per database."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0009_supervisor.sql")
