"""List the files that other machines read, with the content of small ones."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0028_shared_files.sql")
