"""Store the variances by price range, and use them in forecasts."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0019_volatility_by_range.sql")
