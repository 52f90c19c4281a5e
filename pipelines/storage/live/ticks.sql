-- name: listen_ticks
LISTEN strikecast_tick

-- name: listen_generations
LISTEN strikecast_generation

-- name: live_tick_history
SELECT wanted.symbol, log.ticked_at, log.price, statement_timestamp() - log.received_at AS since_receipt,
    log.missing_lags IS NULL AS lacks_features
FROM unnest(%(symbols)s::text[], %(since)s::timestamptz[]) AS wanted (symbol, since)
CROSS JOIN LATERAL (
    (SELECT ticked_at, price, received_at, missing_lags FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at > wanted.since AND ticked_at <= %(until)s
        AND (source = 'replay') = %(replayed)s
    ORDER BY ticked_at LIMIT %(limit)s)
    UNION ALL
    (SELECT ticked_at, price, received_at, missing_lags FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at > %(until)s AND (source = 'replay') = %(replayed)s
    ORDER BY ticked_at DESC LIMIT 1)
) AS log

-- name: seconds
SELECT wanted.symbol, (extract(epoch FROM log.ticked_at) * 1000)::bigint, log.price
FROM unnest(%(symbols)s::text[], %(since)s::timestamptz[]) AS wanted (symbol, since)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (date_trunc('second', ticked_at)) ticked_at, price FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at > wanted.since AND ticked_at <= %(until)s
        AND (source = 'replay') = %(replayed)s
    ORDER BY date_trunc('second', ticked_at), ticked_at DESC
) AS log
ORDER BY wanted.symbol, log.ticked_at

-- name: last_ticks
SELECT wanted.symbol, log.ticked_at, log.price
FROM unnest(%s::text[]) AS wanted (symbol)
CROSS JOIN LATERAL (
    SELECT ticked_at, price FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND (source = 'replay') = %s
    ORDER BY ticked_at DESC LIMIT 1
) AS log

-- name: price_levels
SELECT wanted.symbol, coalesce(bar.close, tick.price) AS level
FROM unnest(%s::text[]) AS wanted (symbol)
LEFT JOIN LATERAL (
    SELECT close FROM historical_data.price_history WHERE price_history.symbol = wanted.symbol ORDER BY opened_at DESC LIMIT 1
) AS bar ON true
LEFT JOIN LATERAL (
    SELECT price FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at <= %s AND (source = 'replay') = %s
    ORDER BY ticked_at DESC LIMIT 1
) AS tick ON bar.close IS NULL
WHERE coalesce(bar.close, tick.price) IS NOT NULL

-- name: minute_prices
SELECT newest.ticked_at, newest.price, around.high, around.low, around.ticks
FROM generate_series(date_trunc('minute', %(since)s::timestamptz), clock_timestamp(), interval '1 minute') AS minute (began)
CROSS JOIN LATERAL (
    SELECT ticked_at, price FROM live_data.price_log
    WHERE symbol = %(symbol)s AND ticked_at > greatest(minute.began, %(since)s) AND ticked_at <= minute.began + interval '1 minute'
        AND (source = 'replay') = %(replayed)s
    ORDER BY ticked_at DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT max(price) AS high, min(price) AS low, count(*) AS ticks FROM live_data.price_log
    WHERE symbol = %(symbol)s AND ticked_at > greatest(minute.began, %(since)s) AND ticked_at <= newest.ticked_at
        AND (source = 'replay') = %(replayed)s AND abs(price / newest.price - 1) <= %(outlier_change)s
) AS around
ORDER BY newest.ticked_at
