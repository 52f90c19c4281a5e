COPY incoming_bar (symbol, opened_at, open, high, low, close, volume) FROM STDIN (FORMAT binary)
