"""strikecast: the tables and files that exist, one module per group."""
