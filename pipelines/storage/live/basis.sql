-- name: index_values
-- In milliseconds since 1970 UTC; each with the last price before it, as the seconds of a minute's mean have.
SELECT index.symbol, (extract(epoch FROM index.valued_at) * 1000)::bigint, index.value, tick.price
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
-- In milliseconds since 1970 UTC; each with the last prices of the seconds before the close, in arrays that may be NULL.
SELECT wanted.symbol, (extract(epoch FROM settled.valued_at) * 1000)::bigint, settled.value, minute.ticked_ms, minute.prices
FROM unnest(%(symbols)s::text[]) AS wanted (symbol)
CROSS JOIN LATERAL (
    SELECT valued_at, value FROM live_data.reference_value
    WHERE reference_value.symbol = wanted.symbol AND kind = 'settled'
        AND valued_at > %(now)s::timestamptz - %(day)s::interval AND valued_at <= %(now)s
    ORDER BY valued_at DESC LIMIT %(closes)s
) AS settled
CROSS JOIN LATERAL (
    SELECT array_agg((extract(epoch FROM tick.ticked_at) * 1000)::bigint ORDER BY tick.ticked_at) AS ticked_ms,
        array_agg(tick.price ORDER BY tick.ticked_at) AS prices
    FROM (
        SELECT DISTINCT ON (date_trunc('second', ticked_at)) ticked_at, price FROM live_data.price_log
        WHERE price_log.symbol = wanted.symbol AND ticked_at < settled.valued_at
            AND ticked_at >= settled.valued_at - %(minute)s::interval AND source <> 'replay'
        ORDER BY date_trunc('second', ticked_at), ticked_at DESC
    ) AS tick
) AS minute
ORDER BY wanted.symbol, settled.valued_at

-- name: quoted_sums
SELECT series_ticker, counted_until, sums, quotes FROM market_data.quoted_basis WHERE exchange = %s

-- name: store_quoted_sums
INSERT INTO market_data.quoted_basis (exchange, series_ticker, counted_until, sums, quotes)
VALUES (%(exchange)s, %(series)s, %(at)s, %(sums)s, %(quotes)s)
ON CONFLICT (exchange, series_ticker) DO UPDATE
SET counted_until = excluded.counted_until, sums = excluded.sums, quotes = excluded.quotes
