"""The probability of a market that settles on a mean, in SQL."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give analytics.strike_probability the settlement of the market."""
    run_migration_file("0018_settlement_question.sql")
