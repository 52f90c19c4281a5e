INSERT INTO historical_data.price_gap (symbol, first_missing_at, last_missing_at, missing_minutes) VALUES (%s, %s, %s, %s)
