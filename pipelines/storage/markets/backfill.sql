-- name: closed_markets
SELECT market_id, ticker, event_ticker, opens_at, closes_at, status = 'finalized' AND result IS NOT NULL AS is_settled,
    candles_fetched_at
FROM market_data.market
WHERE exchange = %(exchange)s AND symbol = %(symbol)s AND series_ticker = %(series)s
    AND closes_at > %(since)s AND closes_at <= %(until)s
ORDER BY closes_at, ticker

-- name: count_candles
-- Without the exchange's own alone, the primary key answers.
SELECT given.market_id, count(*)
FROM unnest(%(markets)s::bigint[], %(closes)s::timestamptz[]) AS given (market_id, closes_at)
JOIN market_data.market_candle AS candle ON candle.market_id = given.market_id
    AND ends_at > given.closes_at - %(wanted)s::interval AND ends_at <= given.closes_at
GROUP BY given.market_id

-- name: count_published
SELECT given.market_id, count(*)
FROM unnest(%(markets)s::bigint[], %(closes)s::timestamptz[]) AS given (market_id, closes_at)
JOIN market_data.market_candle AS candle ON candle.market_id = given.market_id
    AND ends_at > given.closes_at - %(wanted)s::interval AND ends_at <= given.closes_at
WHERE NOT is_derived
GROUP BY given.market_id

-- name: set_fetched
UPDATE market_data.market SET candles_fetched_at = %s WHERE market_id = ANY (%s)
