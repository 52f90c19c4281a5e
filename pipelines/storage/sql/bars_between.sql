SELECT opened_at, open, high, low, close, volume FROM historical_data.price_history
WHERE symbol = %s AND opened_at >= %s AND opened_at < %s ORDER BY opened_at
