"""Server statistics, records and stored audits."""
