"""Scores in the database."""
