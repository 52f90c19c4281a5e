-- name: newest_bar
SELECT opened_at FROM historical_data.price_history WHERE symbol = %s ORDER BY opened_at DESC LIMIT 1

-- name: bar_before
SELECT opened_at FROM historical_data.price_history
WHERE symbol = %s AND opened_at < %s ORDER BY opened_at DESC LIMIT 1

-- name: latest_bars
SELECT opened_at, open, close FROM historical_data.price_history
WHERE symbol = %s ORDER BY opened_at DESC LIMIT %s

-- name: bar_summary
SELECT count(*) AS bars, min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
FROM historical_data.price_history WHERE symbol = %s

-- name: bar_range
SELECT min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
FROM historical_data.price_history WHERE symbol = %s

-- name: closes_as_arrays
SELECT array_agg(opened_at), array_agg(close)
FROM (
    SELECT opened_at, close FROM historical_data.price_history WHERE symbol = %s AND opened_at >= %s ORDER BY opened_at
) AS bar

-- name: bars_as_arrays
SELECT array_agg(opened_at), array_agg(close), array_agg(high), array_agg(low)
FROM (
    SELECT opened_at, close, high, low FROM historical_data.price_history
    WHERE symbol = %s AND opened_at >= %s ORDER BY opened_at
) AS bar

-- name: closes_between
SELECT opened_at, close FROM historical_data.price_history
WHERE symbol = %s AND opened_at >= %s AND opened_at < %s ORDER BY opened_at

-- name: close_at
SELECT close FROM historical_data.price_history WHERE symbol = %s AND opened_at = %s

-- name: momentum_as_arrays
SELECT array_agg(opened_at), array_agg(momentum_score_pct), array_agg(momentum_bucket)
FROM (
    SELECT opened_at, momentum_score_pct, momentum_bucket FROM historical_data.momentum
    WHERE symbol = %s AND opened_at >= %s ORDER BY opened_at
) AS scored

-- name: momentum_summary
SELECT count(*), coalesce(sum(momentum_bucket), 0) FROM historical_data.momentum WHERE symbol = %s

-- name: copy_momentum_in
COPY historical_data.momentum (symbol, opened_at, momentum_score_pct, momentum_bucket) FROM STDIN (FORMAT binary)

-- name: delete_momentum
DELETE FROM historical_data.momentum WHERE symbol = %s AND opened_at = ANY (%s)

-- name: insert_gap
INSERT INTO historical_data.price_gap (symbol, first_missing_at, last_missing_at, missing_minutes) VALUES (%s, %s, %s, %s)

-- name: gaps
SELECT first_missing_at, last_missing_at FROM historical_data.price_gap
WHERE symbol = %s ORDER BY first_missing_at

-- name: delete_gaps
DELETE FROM historical_data.price_gap WHERE symbol = %s AND last_missing_at >= %s

-- name: bars_of_ticks
WITH tick AS (
    SELECT ticked_at, price, date_trunc('minute', ticked_at - interval '1 microsecond') AS began
    FROM live_data.price_log
    WHERE symbol = %(symbol)s AND ticked_at > %(since)s AND ticked_at <= %(until)s AND source <> 'replay'
),
median AS (SELECT began, percentile_disc(0.5) WITHIN GROUP (ORDER BY price) AS price FROM tick GROUP BY began)
SELECT began, (array_agg(tick.price ORDER BY ticked_at))[1], max(tick.price), min(tick.price),
    (array_agg(tick.price ORDER BY ticked_at DESC))[1], 0.0::float8
FROM tick JOIN median USING (began)
WHERE abs(tick.price / median.price - 1) <= %(outlier_change)s
GROUP BY began
HAVING min(ticked_at) <= began + interval '15 seconds' AND max(ticked_at) >= began + interval '45 seconds'
ORDER BY began

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
SELECT historical_data.analyze_symbol(%(symbol)s)
FROM pg_class
WHERE oid = to_regclass('historical_data.price_history_' || lower(%(symbol)s)) AND reltuples <= 20 * %(changed_rows)s
