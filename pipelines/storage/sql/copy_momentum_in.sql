COPY historical_data.momentum (symbol, opened_at, momentum_score_pct, momentum_bucket) FROM STDIN (FORMAT binary)
