"""Models beside momentum: their axes, volatility, counts, champions, scores and sampled live answers."""

from pipelines.storage.migrations.run import run_migration_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the files of this revision in order."""
    for name in ("0002_models.sql", "0002_volatility.sql", "0002_strike_probability.sql", "0002_scores.sql"):
        run_migration_file(name)
