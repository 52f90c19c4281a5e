-- name: months_with_bars
-- A lookup in the index for each month; EXISTS would be planned as a join with all bars.
SELECT month.symbol, month.since
FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS month (symbol, since, until)
CROSS JOIN LATERAL (
    SELECT FROM historical_data.price_history AS bar
    WHERE bar.symbol = month.symbol AND bar.opened_at >= month.since AND bar.opened_at < month.until
    LIMIT 1
) AS found
