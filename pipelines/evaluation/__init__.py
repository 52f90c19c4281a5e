"""Scoring runs, calibration reports, charts, and parity with exported tables."""
