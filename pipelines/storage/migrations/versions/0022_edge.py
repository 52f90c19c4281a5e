"""Store scores of the model against the quotes of markets."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0022_edge.sql")
