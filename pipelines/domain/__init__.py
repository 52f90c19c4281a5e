"""Pure computation: numpy and the standard library; no driver, no environment, no clock, no files."""
