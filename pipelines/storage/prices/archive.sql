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

-- name: stored_ranges
SELECT symbol, min(opened_at), max(opened_at) FROM historical_data.price_history GROUP BY symbol

-- name: bars_as_arrays
SELECT array_agg(opened_at), array_agg(open), array_agg(high), array_agg(low), array_agg(close), array_agg(volume)
FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s AND opened_at < %s

-- name: create_stored_price
CREATE TABLE stored_price (
    symbol VARCHAR, opened_at TIMESTAMPTZ, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE
)

-- name: insert_stored_price
INSERT INTO stored_price SELECT $1, timestamp, open, high, low, close, volume FROM bar

-- name: create_price_view
-- A bar in both, after a failed deletion or a repeated ingestion, counts once.
CREATE VIEW price AS
SELECT *, false AS archived FROM stored_price
UNION ALL
SELECT *, true AS archived
FROM (
    SELECT upper(parse_path(filename)[-2]) AS symbol, timestamp AS opened_at, open, high, low, close, volume FROM archive_file
)
ANTI JOIN stored_price USING (symbol, opened_at)

-- name: create_price_view_without_archive
CREATE VIEW price AS SELECT *, false AS archived FROM stored_price

-- name: read_archived_month
SELECT * FROM read_parquet($path) ORDER BY timestamp
