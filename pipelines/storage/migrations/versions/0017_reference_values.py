"""Values of markets' indexes and settled values, from which the basis is estimated."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0017_reference_values.sql")
