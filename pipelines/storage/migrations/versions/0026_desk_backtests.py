"""Store backtests of the paper desk."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the file of this revision."""
    run_migration_file("0026_desk_backtests.sql")
