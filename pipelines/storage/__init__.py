"""The only place that speaks SQL: connections, migrations, and one module per family of tables."""
