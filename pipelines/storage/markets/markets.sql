-- name: upsert_markets
WITH given AS (
    SELECT * FROM unnest(
        %(ticker)s::text[], %(event_ticker)s::text[], %(series_ticker)s::text[], %(symbol)s::text[], %(settlement)s::text[],
        %(strike_type)s::text[], %(floor_strike)s::numeric[], %(cap_strike)s::numeric[], %(opens_at)s::timestamptz[],
        %(closes_at)s::timestamptz[], %(price_ranges)s::jsonb[], %(status)s::text[], %(result)s::text[],
        %(settlement_value)s::numeric[], %(index_value)s::numeric[]
    ) AS given (
        ticker, event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, cap_strike, opens_at, closes_at,
        price_ranges, status, result, settlement_value, index_value
    )
), life AS (
    SELECT given.*, stored.market_id, stored.market_id IS NOT NULL AND stored.status = 'finalized' AND stored.result IS NOT NULL
            AND (given.status NOT IN ('disputed', 'amended', 'finalized') OR given.status <> 'disputed' AND given.result IS NULL)
            AS keeps_result,
        stored.status AS stored_status, stored.result AS stored_result, stored.price_ranges AS stored_ranges,
        stored.settlement_value AS stored_value, stored.index_value AS stored_index
    FROM given LEFT JOIN market_data.market AS stored ON stored.exchange = %(exchange)s AND stored.ticker = given.ticker
), merged AS (
    SELECT ticker, event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, cap_strike, opens_at, closes_at,
        CASE WHEN price_ranges = '[]' THEN coalesce(stored_ranges, price_ranges) ELSE price_ranges END AS price_ranges,
        CASE WHEN keeps_result THEN stored_status ELSE status END AS status,
        CASE WHEN keeps_result THEN stored_result ELSE result END AS result,
        CASE WHEN keeps_result THEN stored_value WHEN result = stored_result THEN coalesce(settlement_value, stored_value)
            ELSE settlement_value END AS settlement_value,
        CASE WHEN keeps_result THEN stored_index WHEN result = stored_result THEN coalesce(index_value, stored_index)
            ELSE index_value END AS index_value
    FROM life
), written AS (
    INSERT INTO market_data.market AS market (
        exchange, ticker, event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, cap_strike, opens_at, closes_at,
        price_ranges, status, result, settlement_value, index_value
    )
    SELECT %(exchange)s, merged.* FROM merged
    LEFT JOIN market_data.market AS stored ON stored.exchange = %(exchange)s AND stored.ticker = merged.ticker
    WHERE stored.market_id IS NULL OR (
        stored.event_ticker, stored.series_ticker, stored.symbol, stored.settlement, stored.strike_type, stored.floor_strike,
        stored.cap_strike, stored.opens_at, stored.closes_at, stored.price_ranges, stored.status, stored.result,
        stored.settlement_value, stored.index_value
    ) IS DISTINCT FROM (
        merged.event_ticker, merged.series_ticker, merged.symbol, merged.settlement, merged.strike_type, merged.floor_strike,
        merged.cap_strike, merged.opens_at, merged.closes_at, merged.price_ranges, merged.status, merged.result,
        merged.settlement_value, merged.index_value
    )
    ON CONFLICT (exchange, ticker) DO UPDATE SET
        event_ticker = excluded.event_ticker, series_ticker = excluded.series_ticker, symbol = excluded.symbol,
        settlement = excluded.settlement, strike_type = excluded.strike_type, floor_strike = excluded.floor_strike,
        cap_strike = excluded.cap_strike, opens_at = excluded.opens_at, closes_at = excluded.closes_at,
        price_ranges = excluded.price_ranges, status = excluded.status, result = excluded.result,
        settlement_value = excluded.settlement_value, index_value = excluded.index_value, changed_at = clock_timestamp()
    RETURNING market.ticker, market.market_id
)
SELECT ticker, market_id, true AS is_written FROM written
UNION ALL
SELECT ticker, market_id, false FROM life WHERE market_id IS NOT NULL AND ticker NOT IN (SELECT ticker FROM written)

-- name: markets_by_ticker
SELECT * FROM market_data.market WHERE exchange = %s AND ticker = ANY (%s)

-- name: unsettled_markets
SELECT * FROM market_data.market
WHERE exchange = %s AND (result IS NULL OR status <> 'finalized') AND closes_at > %s AND closes_at <= %s
ORDER BY closes_at, ticker

-- name: freshness
-- Quotes of markets that close around now, and of the last day: their partitions alone are read.
SELECT given.symbol, (
        SELECT max(newest.at) FROM market_data.market CROSS JOIN LATERAL (
            SELECT max(quoted_at) AS at FROM market_data.market_quote
            WHERE market_quote.market_id = market.market_id AND quoted_at > %(now)s - interval '1 day' AND quoted_at <= %(now)s
        ) AS newest
        WHERE exchange = %(exchange)s AND market.symbol = given.symbol
            AND closes_at > %(now)s - interval '1 day' AND closes_at < %(now)s + interval '2 hours'
    ) AS newest_quote_at, (
        SELECT count(*) FROM market_data.market
        WHERE exchange = %(exchange)s AND market.symbol = given.symbol AND (result IS NULL OR status <> 'finalized')
            AND closes_at > %(now)s - interval '7 days' AND closes_at <= %(now)s - %(settled_after)s
    ) AS unsettled
FROM unnest(%(symbols)s::text[]) AS given (symbol)
ORDER BY given.symbol

-- name: summary
SELECT exchange, series_ticker AS series, symbol, min(settlement) AS settlement, count(DISTINCT event_ticker) AS events,
    count(*) AS markets,
    count(*) FILTER (WHERE closes_at <= clock_timestamp() AND (result IS NULL OR status <> 'finalized')) AS unsettled,
    coalesce(sum(quote.rows), 0)::bigint AS quotes, coalesce(sum(candle.rows), 0)::bigint AS candles,
    least(min(quote.first_at), min(candle.first_at)) AS first_at, greatest(max(quote.last_at), max(candle.last_at)) AS last_at
FROM market_data.market
LEFT JOIN (
    SELECT market_id, count(*) AS rows, min(quoted_at) AS first_at, max(quoted_at) AS last_at FROM market_data.market_quote GROUP BY 1
) AS quote USING (market_id)
LEFT JOIN (
    SELECT market_id, count(*) AS rows, min(ends_at) AS first_at, max(ends_at) AS last_at FROM market_data.market_candle GROUP BY 1
) AS candle USING (market_id)
WHERE %s::text IS NULL OR symbol = %s
GROUP BY exchange, series_ticker, symbol
ORDER BY exchange, series_ticker, symbol
