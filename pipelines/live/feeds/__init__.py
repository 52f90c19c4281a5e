"""Where prices come from: a replay of history, an exchange, or nobody of ours."""
