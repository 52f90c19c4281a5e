"""Server statistics and stored audits."""
