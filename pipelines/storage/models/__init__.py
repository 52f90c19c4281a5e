"""Generations, their tables, champions and volatility in the database."""
