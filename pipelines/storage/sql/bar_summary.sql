SELECT count(*) AS bars, min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
FROM historical_data.price_history WHERE symbol = %s
