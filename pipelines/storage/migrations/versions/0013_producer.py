"""A role for external programs that deliver prices; the time of receipt is the server's."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    run_migration_file("0013_producer_role.sql", as_owner=False)
    run_migration_file("0013_producer.sql")
