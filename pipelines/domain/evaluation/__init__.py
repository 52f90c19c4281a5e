"""Scores of probability forecasts, walk-forward evaluation and promotion."""
