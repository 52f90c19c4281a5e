"""Generations, fingerprints, lookups, champions and volatility in the database."""
