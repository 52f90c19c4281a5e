-- name: insert_quotes
-- A quote of a market that is not stored has no market_id, and is refused.
INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid, yes_bid_size, no_bid, no_bid_size, volume)
SELECT (SELECT market_id FROM market_data.market WHERE market.exchange = %(exchange)s AND market.ticker = given.ticker),
    given.quoted_at, given.yes_bid, given.yes_bid_size, given.no_bid, given.no_bid_size, given.volume
FROM unnest(
    %(ticker)s::text[], %(quoted_at)s::timestamptz[], %(yes_bid)s::numeric[], %(yes_bid_size)s::numeric[], %(no_bid)s::numeric[],
    %(no_bid_size)s::numeric[], %(volume)s::numeric[]
) AS given (ticker, quoted_at, yes_bid, yes_bid_size, no_bid, no_bid_size, volume)
ON CONFLICT (market_id, quoted_at) DO NOTHING

-- name: create_incoming_quote
CREATE TEMPORARY TABLE incoming_quote (LIKE market_data.market_quote, PRIMARY KEY (market_id, quoted_at)) ON COMMIT DROP

-- name: copy_incoming_quote_in
COPY incoming_quote (market_id, quoted_at, yes_bid, yes_bid_size, no_bid, no_bid_size, volume) FROM STDIN (FORMAT csv)

-- name: analyze_incoming_quote
ANALYZE incoming_quote

-- name: compare_incoming_quotes
SELECT count(*) FILTER (WHERE stored.market_id IS NULL) AS inserted,
    count(*) FILTER (WHERE stored IS NOT DISTINCT FROM incoming) AS unchanged,
    count(*) FILTER (WHERE stored.market_id IS NOT NULL AND stored IS DISTINCT FROM incoming) AS contradicting
FROM incoming_quote AS incoming
LEFT JOIN market_data.market_quote AS stored USING (market_id, quoted_at)

-- name: merge_incoming_quotes
INSERT INTO market_data.market_quote SELECT * FROM incoming_quote ORDER BY market_id, quoted_at
ON CONFLICT (market_id, quoted_at) DO NOTHING

-- name: drop_incoming_quote
DROP TABLE incoming_quote
