SELECT day, usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min
FROM historical_data.volatility_day WHERE symbol = %s AND day BETWEEN %s AND %s
ORDER BY day
