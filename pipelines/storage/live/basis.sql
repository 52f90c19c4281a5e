-- name: index_values
-- Each with the last price before it, as the values of a minute's mean are paired with their seconds.
SELECT index.symbol, index.valued_at, index.value, tick.price
FROM live_data.reference_value AS index
LEFT JOIN LATERAL (
    SELECT price FROM live_data.price_log
    WHERE price_log.symbol = index.symbol AND ticked_at < index.valued_at
        AND ticked_at >= index.valued_at - %(most_age)s::interval AND source <> 'replay'
    ORDER BY ticked_at DESC LIMIT 1
) AS tick ON true
WHERE index.symbol = ANY (%(symbols)s) AND index.kind = 'index'
    AND index.valued_at > %(now)s::timestamptz - %(window)s::interval AND index.valued_at <= %(now)s
ORDER BY index.symbol, index.valued_at

-- name: settled_values
-- Each with the last price of each second of the minute before the close; NULLs without prices.
SELECT wanted.symbol, settled.valued_at, settled.value, tick.ticked_at, tick.price
FROM unnest(%(symbols)s::text[]) AS wanted (symbol)
CROSS JOIN LATERAL (
    SELECT valued_at, value FROM live_data.reference_value
    WHERE reference_value.symbol = wanted.symbol AND kind = 'settled'
        AND valued_at > %(now)s::timestamptz - %(day)s::interval AND valued_at <= %(now)s
    ORDER BY valued_at DESC LIMIT %(closes)s
) AS settled
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (date_trunc('second', ticked_at)) ticked_at, price FROM live_data.price_log
    WHERE price_log.symbol = wanted.symbol AND ticked_at < settled.valued_at
        AND ticked_at >= settled.valued_at - %(minute)s::interval AND source <> 'replay'
    ORDER BY date_trunc('second', ticked_at), ticked_at DESC
) AS tick ON true
ORDER BY wanted.symbol, settled.valued_at, tick.ticked_at
