-- name: markets_with_candles
SELECT given.market_id FROM unnest(%s::bigint[]) AS given (market_id)
WHERE EXISTS (SELECT FROM market_data.market_candle WHERE market_candle.market_id = given.market_id)

-- name: copy_candles_in
COPY market_data.market_candle (
    market_id, ends_at, yes_bid_open, yes_bid_high, yes_bid_low, yes_bid_close,
    yes_ask_open, yes_ask_high, yes_ask_low, yes_ask_close, volume, open_interest
) FROM STDIN (FORMAT csv)

-- name: create_incoming_candle
CREATE TEMPORARY TABLE incoming_candle (LIKE market_data.market_candle INCLUDING DEFAULTS, PRIMARY KEY (market_id, ends_at)) ON COMMIT DROP

-- name: copy_incoming_candle_in
COPY incoming_candle (
    market_id, ends_at, yes_bid_open, yes_bid_high, yes_bid_low, yes_bid_close,
    yes_ask_open, yes_ask_high, yes_ask_low, yes_ask_close, volume, open_interest
) FROM STDIN (FORMAT csv)

-- name: analyze_incoming_candle
ANALYZE incoming_candle

-- name: compare_incoming_candles
SELECT count(*) FILTER (WHERE stored.market_id IS NULL) AS inserted,
    count(*) FILTER (WHERE stored.market_id IS NOT NULL AND stored IS DISTINCT FROM incoming) AS corrected,
    count(*) FILTER (WHERE stored IS NOT DISTINCT FROM incoming) AS unchanged
FROM incoming_candle AS incoming
LEFT JOIN market_data.market_candle AS stored USING (market_id, ends_at)

-- name: merge_incoming_candles
INSERT INTO market_data.market_candle
SELECT incoming.* FROM incoming_candle AS incoming
LEFT JOIN market_data.market_candle AS stored USING (market_id, ends_at)
WHERE stored IS DISTINCT FROM incoming
ORDER BY incoming.market_id, incoming.ends_at
ON CONFLICT (market_id, ends_at) DO UPDATE SET
    yes_bid_open = excluded.yes_bid_open, yes_bid_high = excluded.yes_bid_high, yes_bid_low = excluded.yes_bid_low,
    yes_bid_close = excluded.yes_bid_close, yes_ask_open = excluded.yes_ask_open, yes_ask_high = excluded.yes_ask_high,
    yes_ask_low = excluded.yes_ask_low, yes_ask_close = excluded.yes_ask_close, volume = excluded.volume,
    open_interest = excluded.open_interest, is_derived = excluded.is_derived, quoted_at = excluded.quoted_at

-- name: drop_incoming_candle
DROP TABLE incoming_candle

-- name: derive_candles
-- A quote that is not followed in time stands until the end of its own minute: nobody knows for how much longer. The volume
-- of a minute is not known without the quote that stands at its start.
WITH quote AS (
    SELECT market_id, opens_at, closes_at, quoted_at, coalesce(yes_bid, 0) AS bid, 1 - coalesce(no_bid, 0) AS ask, volume,
        lead(quoted_at) OVER (PARTITION BY market_id ORDER BY quoted_at) AS next_at
    FROM market_data.market_quote JOIN market_data.market USING (market_id)
    WHERE quoted_at > %(since)s - %(standing)s::interval AND quoted_at <= %(until)s + %(standing)s::interval
        AND (%(exchange)s::text IS NULL OR exchange = %(exchange)s) AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
), minute AS (
    SELECT quote.*, covered.ends_at FROM quote
    CROSS JOIN LATERAL (
        SELECT CASE WHEN next_at - quoted_at <= %(standing)s THEN next_at ELSE quoted_at END AS at
    ) AS last
    CROSS JOIN LATERAL generate_series(
        date_trunc('minute', quoted_at + interval '59.999999 s', 'UTC'), date_trunc('minute', last.at + interval '59.999999 s', 'UTC'),
        interval '1 minute'
    ) AS covered (ends_at)
    WHERE covered.ends_at > %(since)s AND covered.ends_at <= %(until)s AND quoted_at < closes_at
        AND covered.ends_at > opens_at AND covered.ends_at < closes_at + interval '1 minute'
), candle AS (
    SELECT market_id, ends_at,
        (array_agg(bid ORDER BY quoted_at))[1] AS bid_open, max(bid) AS bid_high, min(bid) AS bid_low,
        (array_agg(bid ORDER BY quoted_at DESC))[1] AS bid_close,
        (array_agg(ask ORDER BY quoted_at))[1] AS ask_open, max(ask) AS ask_high, min(ask) AS ask_low,
        (array_agg(ask ORDER BY quoted_at DESC))[1] AS ask_close, max(quoted_at) AS quoted_at,
        CASE WHEN min(quoted_at) <= ends_at - interval '1 minute' THEN
            (array_agg(volume ORDER BY quoted_at DESC))[1] - (array_agg(volume ORDER BY quoted_at))[1]
        END AS volume
    FROM minute GROUP BY market_id, ends_at
)
INSERT INTO market_data.market_candle AS stored (
    market_id, ends_at, yes_bid_open, yes_bid_high, yes_bid_low, yes_bid_close,
    yes_ask_open, yes_ask_high, yes_ask_low, yes_ask_close, volume, is_derived, quoted_at
)
SELECT market_id, ends_at, nullif(bid_open, 0), nullif(bid_high, 0), nullif(bid_low, 0), nullif(bid_close, 0),
    nullif(ask_open, 1), nullif(ask_high, 1), nullif(ask_low, 1), nullif(ask_close, 1), CASE WHEN volume >= 0 THEN volume END, true,
    quoted_at
FROM candle
ORDER BY market_id, ends_at
ON CONFLICT (market_id, ends_at) DO UPDATE SET
    yes_bid_open = excluded.yes_bid_open, yes_bid_high = excluded.yes_bid_high, yes_bid_low = excluded.yes_bid_low,
    yes_bid_close = excluded.yes_bid_close, yes_ask_open = excluded.yes_ask_open, yes_ask_high = excluded.yes_ask_high,
    yes_ask_low = excluded.yes_ask_low, yes_ask_close = excluded.yes_ask_close, volume = coalesce(excluded.volume, stored.volume),
    quoted_at = excluded.quoted_at
WHERE stored.is_derived AND stored.ends_at > %(since)s + %(margin)s::interval AND stored.ends_at <= %(until)s - %(margin)s::interval
    AND (
        stored.yes_bid_open, stored.yes_bid_high, stored.yes_bid_low, stored.yes_bid_close, stored.yes_ask_open,
        stored.yes_ask_high, stored.yes_ask_low, stored.yes_ask_close, stored.volume, stored.quoted_at
    ) IS DISTINCT FROM (
        excluded.yes_bid_open, excluded.yes_bid_high, excluded.yes_bid_low, excluded.yes_bid_close, excluded.yes_ask_open,
        excluded.yes_ask_high, excluded.yes_ask_low, excluded.yes_ask_close, coalesce(excluded.volume, stored.volume),
        excluded.quoted_at
    )
