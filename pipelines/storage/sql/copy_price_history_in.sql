COPY historical_data.price_history (symbol, opened_at, open, high, low, close, volume) FROM STDIN (FORMAT binary)
