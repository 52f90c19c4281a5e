SELECT min(ahead) FROM (
    SELECT parent.relname, count(*) FILTER (WHERE to_date(right(day.relname, 8), 'YYYYMMDD') > (clock_timestamp() AT TIME ZONE 'UTC')::date) AS ahead
    FROM pg_inherits JOIN pg_class AS day ON day.oid = inhrelid JOIN pg_class AS parent ON parent.oid = inhparent
    WHERE parent.relnamespace = 'live_data'::regnamespace AND parent.relname IN ('price_log', 'answer')
    GROUP BY parent.relname
) AS counted
