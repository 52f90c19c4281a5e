"""Keep when the candles of a closed market were fetched."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0024_fetched_candles.sql")
