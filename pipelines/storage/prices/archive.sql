-- name: set_utc
SET TimeZone = 'UTC'

-- name: stored_months
SELECT symbol, date_trunc('month', opened_at, 'UTC')::date AS month, count(*) AS bars,
    (SELECT max(newest.opened_at) FROM historical_data.price_history AS newest WHERE newest.symbol = bar.symbol) AS newest_bar_at
FROM historical_data.price_history AS bar
WHERE symbol = %s AND opened_at < %s
GROUP BY 1, 2

-- name: bars_between
SELECT opened_at, open, high, low, close, volume FROM historical_data.price_history
WHERE symbol = %s AND opened_at >= %s AND opened_at < %s ORDER BY opened_at

-- name: delete_bars_between
DELETE FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s AND opened_at < %s

-- name: delete_momentum_between
DELETE FROM historical_data.momentum WHERE symbol = %s AND opened_at >= %s AND opened_at < %s

-- name: read_archived_month
SELECT * FROM read_parquet($path) ORDER BY timestamp
