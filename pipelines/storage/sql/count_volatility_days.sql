SELECT count(*) FROM historical_data.volatility_day WHERE symbol = %s
