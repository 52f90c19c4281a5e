"""Store the settlement rule of each live answer and score."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0016_settlement.sql")
