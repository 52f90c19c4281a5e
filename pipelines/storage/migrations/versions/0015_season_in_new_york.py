"""Compute the season of a forecast in New York time."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0015_season_in_new_york.sql")
