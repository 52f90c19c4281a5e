SELECT opened_at, close FROM historical_data.price_history WHERE symbol = %s AND opened_at = %s
