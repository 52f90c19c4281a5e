"""Ticks, sessions, snapshots and health queries of the live session."""
