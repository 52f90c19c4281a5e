COPY (SELECT symbol, opened_at, open, high, low, close, volume FROM historical_data.price_history) TO STDOUT (FORMAT csv)
