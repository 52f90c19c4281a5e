-- name: newest_bar
SELECT opened_at FROM historical_data.price_history WHERE symbol = %s ORDER BY opened_at DESC LIMIT 1

-- name: latest_bars
SELECT opened_at, open, close FROM historical_data.price_history
WHERE symbol = %s ORDER BY opened_at DESC LIMIT %s

-- name: bar_summary
SELECT count(*) AS bars, min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
FROM historical_data.price_history WHERE symbol = %s

-- name: closes_as_arrays
SELECT array_agg(opened_at), array_agg(close)
FROM (
    SELECT opened_at, close FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s ORDER BY opened_at
) AS bar

-- name: momentum_as_arrays
SELECT array_agg(opened_at), array_agg(momentum_score_pct), array_agg(momentum_bucket)
FROM (
    SELECT opened_at, momentum_score_pct, momentum_bucket FROM historical_data.momentum WHERE symbol = %s ORDER BY opened_at
) AS scored

-- name: momentum_summary
SELECT count(*), coalesce(sum(momentum_bucket), 0) FROM historical_data.momentum WHERE symbol = %s

-- name: copy_momentum_in
COPY historical_data.momentum (symbol, opened_at, momentum_score_pct, momentum_bucket) FROM STDIN (FORMAT binary)

-- name: delete_momentum
DELETE FROM historical_data.momentum WHERE symbol = %s AND opened_at = ANY (%s)

-- name: insert_gap
INSERT INTO historical_data.price_gap (symbol, first_missing_at, last_missing_at, missing_minutes) VALUES (%s, %s, %s, %s)

-- name: delete_gaps
DELETE FROM historical_data.price_gap WHERE symbol = %s

-- name: bars_of_ticks
SELECT minute.began, (array_agg(price ORDER BY ticked_at))[1], max(price), min(price),
    (array_agg(price ORDER BY ticked_at DESC))[1], 0.0::float8
FROM live_data.price_log
CROSS JOIN LATERAL (SELECT date_trunc('minute', ticked_at - interval '1 microsecond') AS began) AS minute
WHERE symbol = %(symbol)s AND ticked_at > %(since)s AND ticked_at <= %(until)s AND source <> 'replay'
GROUP BY minute.began
HAVING min(ticked_at) <= minute.began + interval '15 seconds' AND max(ticked_at) >= minute.began + interval '45 seconds'
ORDER BY minute.began

-- name: missing_ranges
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

-- name: analyze_symbol
SELECT historical_data.analyze_symbol(%s)
