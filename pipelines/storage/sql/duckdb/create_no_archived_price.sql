CREATE TABLE archived_price AS SELECT symbol, opened_at, open, high, low, close, volume FROM stored_price WHERE false
