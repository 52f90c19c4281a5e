"""Store what the paper desk is told and does."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0025_desk.sql")
