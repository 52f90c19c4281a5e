"""Update momentum and the gap report by increments."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0027_increments.sql")
