SELECT tick.ticked_at, tick.price
FROM generate_series(date_trunc('minute', %(since)s::timestamptz), clock_timestamp(), interval '1 minute') AS minute (began)
CROSS JOIN LATERAL (
    SELECT ticked_at, price FROM live_data.price_log
    WHERE symbol = %(symbol)s AND ticked_at > greatest(minute.began, %(since)s) AND ticked_at <= minute.began + interval '1 minute'
        AND (source = 'replay') = %(replayed)s
    ORDER BY ticked_at DESC LIMIT 1
) AS tick
ORDER BY tick.ticked_at
