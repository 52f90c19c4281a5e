"""Protection of what the system knows: modes of files, and credentials in texts."""
