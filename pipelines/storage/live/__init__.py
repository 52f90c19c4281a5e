"""Storage of the live session: ticks, sessions, snapshots, health queries."""
