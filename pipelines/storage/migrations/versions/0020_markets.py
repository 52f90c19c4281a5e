"""Store markets with their quotes, candles and fees."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0020_markets.sql")
