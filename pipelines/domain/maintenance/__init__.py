"""Policies and plans of maintenance."""
