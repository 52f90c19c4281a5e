SELECT after_bar + interval '1 minute', before_bar
FROM (
    SELECT opened_at AS before_bar, lag(opened_at, 1, %(since)s - interval '1 minute') OVER (ORDER BY opened_at) AS after_bar
    FROM (
        SELECT opened_at FROM historical_data.price_history
        WHERE symbol = %(symbol)s AND opened_at >= %(since)s AND opened_at < %(until)s
        UNION ALL
        SELECT %(until)s
    ) AS edges
) AS neighbours
WHERE before_bar - after_bar > interval '1 minute'
ORDER BY before_bar
