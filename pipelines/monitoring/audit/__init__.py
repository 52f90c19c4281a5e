"""Collect, judge, store and render audits."""
