"""The live session: ticks in, one probability file per symbol out, at least once a second."""
