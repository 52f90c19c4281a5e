INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, %s)
ON CONFLICT (symbol, ticked_at) DO NOTHING
