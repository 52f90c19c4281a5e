SELECT wanted.symbol, log.ticked_at, log.price, log.received_at, log.missing_lags IS NULL AS bare
FROM unnest(%s::text[], %s::timestamptz[]) AS wanted (symbol, since)
CROSS JOIN LATERAL (
    SELECT ticked_at, price, received_at, missing_lags FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at > wanted.since AND (source = 'replay') = %s
    ORDER BY ticked_at LIMIT %s
) AS log
