"""Keep what is counted of quotes for the basis across live sessions."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0023_quoted_basis.sql")
