"""Ticks are kept without a day partition; answers in SQL have the age of their state, and limits."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    run_migration_file("0011_price_log_later.sql")
    run_migration_file("0011_state_age.sql")
