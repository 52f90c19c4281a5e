"""Retention, vacuum, recovery and restores in the database."""
