"""The settings: their sections, their file, problems with them, and where each value comes from."""
