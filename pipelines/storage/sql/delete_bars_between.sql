DELETE FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s AND opened_at < %s
