-- name: store_fees
WITH given AS (
    SELECT coalesce(starts_at, '-infinity') AS starts_at, ends_at, fee_type, multiplier
    FROM unnest(%(starts_at)s::timestamptz[], %(ends_at)s::timestamptz[], %(fee_type)s::text[], %(multiplier)s::numeric[])
        AS given (starts_at, ends_at, fee_type, multiplier)
), stored AS (
    SELECT starts_at, ends_at, fee_type, multiplier FROM market_data.market_fee
    WHERE exchange = %(exchange)s AND series_ticker = %(series_ticker)s AND event_ticker = %(event_ticker)s
), in_force AS (
    SELECT * FROM stored WHERE starts_at <= %(seen_at)s AND (ends_at IS NULL OR ends_at > %(seen_at)s) ORDER BY starts_at DESC LIMIT 1
), placed AS (
    SELECT CASE WHEN given.starts_at = '-infinity' AND EXISTS (SELECT FROM stored) THEN %(seen_at)s ELSE given.starts_at END AS starts_at,
        given.ends_at, given.fee_type, given.multiplier
    FROM given LEFT JOIN in_force ON given.starts_at = '-infinity'
    WHERE (given.ends_at, given.fee_type, given.multiplier) IS DISTINCT FROM (in_force.ends_at, in_force.fee_type, in_force.multiplier)
)
INSERT INTO market_data.market_fee AS fee (exchange, series_ticker, event_ticker, starts_at, ends_at, fee_type, multiplier, seen_at)
SELECT %(exchange)s, %(series_ticker)s, %(event_ticker)s, starts_at, ends_at, fee_type, multiplier, %(seen_at)s FROM placed
ON CONFLICT (exchange, series_ticker, event_ticker, starts_at) DO UPDATE
SET ends_at = excluded.ends_at, fee_type = excluded.fee_type, multiplier = excluded.multiplier, seen_at = excluded.seen_at
WHERE (fee.ends_at, fee.fee_type, fee.multiplier) IS DISTINCT FROM (excluded.ends_at, excluded.fee_type, excluded.multiplier)
