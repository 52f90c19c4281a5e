"""Queries of analysts in DuckDB's SQL, over the tables of PostgreSQL and the archive of bars."""
