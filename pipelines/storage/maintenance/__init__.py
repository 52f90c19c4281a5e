"""Statements of retention, vacuum, recovery and restores."""
