SELECT opened_at FROM historical_data.price_history WHERE symbol = %s ORDER BY opened_at DESC LIMIT 1
