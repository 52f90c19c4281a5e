"""Refuse prices out of range in `live_data.price_log`."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0012_price_range.sql")
