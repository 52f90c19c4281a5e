"""Versioned schema changes: one module and one .sql file each."""
