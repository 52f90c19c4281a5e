SELECT EXISTS (SELECT 1 FROM historical_data.price_history WHERE symbol = %s)
