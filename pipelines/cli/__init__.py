"""The `strikecast` command: one module per command group."""
