SELECT week, ttc_minutes, counts FROM analytics.standardised_count
WHERE symbol = %s AND week BETWEEN %s AND %s
ORDER BY week, ttc_minutes
