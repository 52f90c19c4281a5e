-- name: listen_ticks
LISTEN strikecast_tick

-- name: listen_generations
LISTEN strikecast_generation

-- name: live_tick_history
SELECT wanted.symbol, log.ticked_at, log.price, log.received_at, log.missing_lags IS NULL AS lacks_features
FROM unnest(%s::text[], %s::timestamptz[]) AS wanted (symbol, since)
CROSS JOIN LATERAL (
    SELECT ticked_at, price, received_at, missing_lags FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at > wanted.since AND (source = 'replay') = %s
    ORDER BY ticked_at LIMIT %s
) AS log

-- name: minute_closes
SELECT tick.ticked_at, tick.price
FROM generate_series(date_trunc('minute', %(since)s::timestamptz), clock_timestamp(), interval '1 minute') AS minute (began)
CROSS JOIN LATERAL (
    SELECT ticked_at, price FROM live_data.price_log
    WHERE symbol = %(symbol)s AND ticked_at > greatest(minute.began, %(since)s) AND ticked_at <= minute.began + interval '1 minute'
        AND (source = 'replay') = %(replayed)s
    ORDER BY ticked_at DESC LIMIT 1
) AS tick
ORDER BY tick.ticked_at

-- name: create_day_partition
SELECT live_data.create_day_partition(%s, %s)

-- name: days_ahead
SELECT min(ahead) FROM (
    SELECT parent.relname, count(*) FILTER (WHERE to_date(right(day.relname, 8), 'YYYYMMDD') > (clock_timestamp() AT TIME ZONE 'UTC')::date) AS ahead
    FROM pg_inherits JOIN pg_class AS day ON day.oid = inhrelid JOIN pg_class AS parent ON parent.oid = inhparent
    WHERE parent.relnamespace = 'live_data'::regnamespace AND parent.relname IN ('price_log', 'answer')
    GROUP BY parent.relname
) AS counted
