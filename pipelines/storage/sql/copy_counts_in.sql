COPY analytics.standardised_count (symbol, week, ttc_minutes, parameters_id, counts) FROM STDIN (FORMAT binary)
