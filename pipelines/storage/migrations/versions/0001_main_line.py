"""Schemas, roles and tables of the main line: price history to live probabilities."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    run_migration_file("0001_roles.sql", as_owner=False)
    for name in ("0001_prices.sql", "0001_analytics.sql", "0001_live.sql"):
        run_migration_file(name)
