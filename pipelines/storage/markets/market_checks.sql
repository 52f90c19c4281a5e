-- name: index_values
SELECT ticker, index_value FROM market_data.market
WHERE symbol = %s AND exchange = %s AND series_ticker = %s AND closes_at >= %s AND closes_at < %s AND index_value IS NOT NULL

-- name: quote_counts
SELECT count(*), count(*) FILTER (WHERE yes_bid + no_bid > 1)
FROM market_data.market_quote JOIN market_data.market USING (market_id)
WHERE symbol = %(symbol)s AND quoted_at >= %(since)s AND quoted_at < %(until)s

-- name: first_crossed
SELECT ticker, quoted_at
FROM market_data.market_quote JOIN market_data.market USING (market_id)
WHERE symbol = %(symbol)s AND quoted_at >= %(since)s AND quoted_at < %(until)s AND yes_bid + no_bid > 1
ORDER BY quoted_at, ticker LIMIT %(shown)s

-- name: quote_ages
SELECT event.event_ticker, event.opens_at, max(quote.quoted_at) AS newest_at
FROM (
    SELECT DISTINCT ON (series_ticker) event_ticker, opens_at FROM market_data.market
    WHERE symbol = %(symbol)s AND exchange = %(exchange)s AND opens_at <= %(now)s AND closes_at > %(now)s
    ORDER BY series_ticker, closes_at, event_ticker
) AS event
JOIN market_data.market ON market.event_ticker = event.event_ticker AND market.exchange = %(exchange)s
LEFT JOIN market_data.market_quote AS quote ON quote.market_id = market.market_id
    AND quote.quoted_at > %(now)s::timestamptz - %(oldest)s::interval AND quote.quoted_at <= %(now)s
GROUP BY event.event_ticker, event.opens_at
ORDER BY event.event_ticker

-- name: count_markets
SELECT count(*) FROM market_data.market WHERE symbol = %s

-- name: count_fees
SELECT count(*) FROM market_data.market_fee
WHERE (exchange, series_ticker) IN (SELECT exchange, series_ticker FROM market_data.market WHERE symbol = %s)
