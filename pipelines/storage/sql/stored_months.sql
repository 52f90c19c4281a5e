SELECT symbol, date_trunc('month', opened_at, 'UTC')::date AS month, count(*) AS bars,
    (SELECT max(newest.opened_at) FROM historical_data.price_history AS newest WHERE newest.symbol = bar.symbol) AS newest_bar_at
FROM historical_data.price_history AS bar
WHERE symbol = %s AND opened_at < %s
GROUP BY 1, 2
