DELETE FROM historical_data.volatility_day WHERE symbol = %s AND day >= %s
