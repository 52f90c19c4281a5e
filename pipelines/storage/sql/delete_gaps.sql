DELETE FROM historical_data.price_gap WHERE symbol = %s
