-- name: create_live_day
SELECT live_data.create_day_partition(%s, %s)

-- name: create_market_day
SELECT market_data.create_day_partition(%s, %s)

-- name: days_ahead
SELECT min(ahead.days)
FROM unnest(%s::text[]) AS parent (name)
CROSS JOIN LATERAL (
    SELECT count(*) FROM pg_inherits JOIN pg_class AS day ON day.oid = inhrelid
    WHERE inhparent = parent.name::regclass
        AND substring(day.relname FROM '_([0-9]{8})$') > to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')
) AS ahead (days)
