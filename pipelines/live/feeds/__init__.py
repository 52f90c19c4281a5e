"""Price feeds: a replay of stored history, an exchange, or none of its own."""
