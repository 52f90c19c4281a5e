-- name: begin_first_load
SELECT historical_data.begin_first_load(%s)

-- name: has_bars
SELECT EXISTS (SELECT 1 FROM historical_data.price_history WHERE symbol = %s)

-- name: copy_price_history_in
COPY historical_data.price_history (symbol, opened_at, open, high, low, close, volume) FROM STDIN (FORMAT binary)

-- name: copy_first_bars_in
COPY {table} (symbol, opened_at, open, high, low, close, volume) FROM STDIN (FORMAT binary)

-- name: finish_first_load
SELECT historical_data.finish_first_load(%s)

-- name: create_incoming_bar
CREATE TEMPORARY TABLE incoming_bar (LIKE historical_data.price_history, PRIMARY KEY (opened_at)) ON COMMIT DROP

-- name: copy_incoming_bar_in
COPY incoming_bar (symbol, opened_at, open, high, low, close, volume) FROM STDIN (FORMAT binary)

-- name: analyze_incoming_bar
ANALYZE incoming_bar

-- name: compare_incoming_bars
SELECT count(*) FILTER (WHERE stored.symbol IS NULL) AS inserted,
    count(*) FILTER (
        WHERE stored.symbol IS NOT NULL
        AND (stored.open, stored.high, stored.low, stored.close, stored.volume)
            IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
    ) AS corrected,
    count(*) FILTER (WHERE stored.close IS DISTINCT FROM incoming.close AND stored.symbol IS NOT NULL) AS conflicting_closes,
    coalesce(avg(abs(ln(incoming.close / stored.close))) FILTER (WHERE stored.close <> incoming.close), 0) AS mean_log_difference,
    count(*) AS total,
    min(incoming.opened_at) FILTER (
        WHERE (stored.open, stored.high, stored.low, stored.close, stored.volume)
            IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
    ) AS first_changed_at
FROM incoming_bar AS incoming
LEFT JOIN historical_data.price_history AS stored ON stored.symbol = %s AND stored.opened_at = incoming.opened_at

-- name: best_shift_of_incoming
-- The shift in hours for which most of a sample of 500 incoming closes equal the stored ones.
SELECT shift.hours, avg((stored.close = picked.close)::integer) AS agreeing
FROM (SELECT opened_at, close FROM incoming_bar ORDER BY hashtext(opened_at::text) LIMIT 500) AS picked
CROSS JOIN generate_series(-14, 14) AS shift (hours)
JOIN historical_data.price_history AS stored
    ON stored.symbol = %s AND stored.opened_at = picked.opened_at + make_interval(hours => shift.hours)
GROUP BY shift.hours
ORDER BY agreeing DESC, abs(shift.hours)
LIMIT 1

-- name: nearest_close
SELECT opened_at, close
FROM (
    (SELECT opened_at, close FROM historical_data.price_history
     WHERE symbol = %(symbol)s AND opened_at < %(first)s ORDER BY opened_at DESC LIMIT 1)
    UNION ALL
    (SELECT opened_at, close FROM historical_data.price_history
     WHERE symbol = %(symbol)s AND opened_at > %(last)s ORDER BY opened_at LIMIT 1)
) AS neighbour
WHERE NOT EXISTS (
    SELECT 1 FROM historical_data.price_history
    WHERE symbol = %(symbol)s AND opened_at BETWEEN %(first)s AND %(last)s
)
ORDER BY greatest(%(first)s - opened_at, opened_at - %(last)s) LIMIT 1

-- name: other_symbols
SELECT symbol
FROM (
    SELECT upper(substr(relname, length('price_history_') + 1)) AS symbol
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'historical_data.price_history'::regclass
) AS other
WHERE symbol <> %s

-- name: range_of_symbol
-- For one symbol: a join with all of them would plan, open and read the partitions of all for each.
SELECT %(symbol)s AS symbol, oldest.opened_at AS first_bar_at, newest.opened_at AS last_bar_at, near.opened_at AS near_at,
    near.close AS near_close
FROM (SELECT opened_at FROM historical_data.price_history WHERE symbol = %(symbol)s ORDER BY opened_at LIMIT 1) AS oldest
CROSS JOIN (
    SELECT opened_at FROM historical_data.price_history WHERE symbol = %(symbol)s ORDER BY opened_at DESC LIMIT 1
) AS newest
CROSS JOIN (
    SELECT opened_at, close FROM historical_data.price_history
    WHERE symbol = %(symbol)s AND opened_at <= %(last)s ORDER BY opened_at DESC LIMIT 1
) AS near
WHERE newest.opened_at >= %(first)s

-- name: closes_between
SELECT array_agg(opened_at), array_agg(close)
FROM (
    SELECT opened_at, close FROM historical_data.price_history
    WHERE symbol = %s AND opened_at BETWEEN %s AND %s ORDER BY opened_at
) AS bar

-- name: merge_incoming_bars
-- The symbol as a parameter, as above: otherwise the bars of all symbols are read.
INSERT INTO historical_data.price_history AS stored (symbol, opened_at, open, high, low, close, volume)
SELECT incoming.symbol, incoming.opened_at, incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume
FROM incoming_bar AS incoming
LEFT JOIN historical_data.price_history AS present ON present.symbol = %s AND present.opened_at = incoming.opened_at
WHERE present.symbol IS NULL
    OR (present.open, present.high, present.low, present.close, present.volume)
        IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
ORDER BY incoming.opened_at
ON CONFLICT (symbol, opened_at) DO UPDATE
SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume

-- name: create_incoming_quarantined_bar
CREATE TEMPORARY TABLE incoming_quarantined_bar (file_sha256 text, source_row bigint, reason text, source_file text, raw jsonb)
ON COMMIT DROP

-- name: copy_incoming_quarantined_bar_in
COPY incoming_quarantined_bar (file_sha256, source_row, reason, source_file, raw) FROM STDIN

-- name: merge_incoming_quarantined_bars
INSERT INTO historical_data.quarantined_bar (symbol, file_sha256, source_row, reason, source_file, raw)
SELECT %s, file_sha256, source_row, reason, source_file, raw FROM incoming_quarantined_bar
ON CONFLICT (symbol, file_sha256, source_row) DO NOTHING

-- name: record_ingestion
INSERT INTO ops.ingestion (
    symbol, files, rows_read, inserted, corrected, unchanged, quarantined, absent, repeated, archived,
    started_at, first_changed_at
) VALUES (
    %(symbol)s, %(files)s, %(rows_read)s, %(inserted)s, %(corrected)s, %(unchanged)s, %(quarantined)s, %(absent)s,
    %(repeated)s, %(archived)s, %(started_at)s, %(first_changed_at)s
)
