-- What no index helps with: every bar of the symbol is read.
SELECT count(*) FROM historical_data.price_history WHERE symbol = %s AND volume = %s
