SELECT array_agg(opened_at), array_agg(close)
FROM (
    SELECT opened_at, close FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s ORDER BY opened_at
) AS bar
