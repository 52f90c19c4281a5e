SELECT opened_at, open, close FROM historical_data.price_history
WHERE symbol = %s ORDER BY opened_at DESC LIMIT %s
