SELECT regexp_replace(relname, '_[0-9]{8}$', '') AS table, relname::text AS name, to_date(right(relname, 8), 'YYYYMMDD') AS day,
    pg_total_relation_size(pg_class.oid) AS bytes, inhrelid IS NOT NULL AS attached, coalesce(inhdetachpending, false) AS detaching
FROM pg_class
LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
WHERE relnamespace = 'live_data'::regnamespace AND relkind = 'r' AND relname ~ '^(price_log|answer)_[0-9]{8}$'
ORDER BY relname
