"""Alerts, and the audit's measurements, targets and findings."""
