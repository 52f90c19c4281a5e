"""Bars, momentum and gaps in the database."""
