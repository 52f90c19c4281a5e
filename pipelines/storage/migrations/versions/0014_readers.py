"""Let every role read the schema's version: commands that only read check it."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision; the table belongs to the login that created it."""
    run_migration_file("0014_readers.sql", as_owner=False)
