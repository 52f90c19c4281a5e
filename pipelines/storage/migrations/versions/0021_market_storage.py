"""Days of market quotes, revisions of results, imports, and who may write them."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0021_market_storage.sql")
