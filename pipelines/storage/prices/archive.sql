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

-- name: copy_bars_out
COPY (SELECT symbol, opened_at, open, high, low, close, volume FROM historical_data.price_history) TO STDOUT (FORMAT csv)

-- name: create_archived_price
CREATE TABLE archived_price AS
SELECT upper(parse_path(filename)[-2]) AS symbol, timestamp AS opened_at, open, high, low, close, volume
FROM read_parquet($files, filename = true)

-- name: create_no_archived_price
CREATE TABLE archived_price AS SELECT symbol, opened_at, open, high, low, close, volume FROM stored_price WHERE false

-- name: create_price_view
-- What is in both, between a write of the archive and the removal, or after it was ingested again, counts once.
CREATE VIEW price AS
SELECT *, false AS archived FROM stored_price
UNION ALL
SELECT *, true AS archived FROM archived_price ANTI JOIN stored_price USING (symbol, opened_at)

-- name: create_stored_price
CREATE TABLE stored_price AS
SELECT * FROM read_csv($path, header = false, columns = {
    'symbol': 'VARCHAR', 'opened_at': 'TIMESTAMPTZ', 'open': 'DOUBLE', 'high': 'DOUBLE', 'low': 'DOUBLE', 'close': 'DOUBLE',
    'volume': 'DOUBLE'
})

-- name: read_archived_month
SELECT * FROM read_parquet($path) ORDER BY timestamp
