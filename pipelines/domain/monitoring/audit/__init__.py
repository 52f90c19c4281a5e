"""Audits: measurements, comparison, targets, findings, a grade, and their report."""
