"""The models, one per module: each answers P(the price closes at or past a strike) from what was known before."""
