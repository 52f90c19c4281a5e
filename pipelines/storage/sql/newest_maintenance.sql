-- The newest finished run of each job, and what came of it: rows that retention removed, dead rows that vacuum cleared away, and what was left.
SELECT DISTINCT ON (job) job, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_seconds,
    extract(epoch FROM finished_at - started_at)::float8 AS seconds,
    (SELECT sum(value::float8) FROM jsonb_each_text(CASE job WHEN 'retention' THEN result -> 'rows' END))::float8 AS rows_removed,
    (SELECT sum(greatest(0, (change ->> 'dead_rows_before')::float8 - (change ->> 'dead_rows_after')::float8))
        FROM jsonb_array_elements(CASE job WHEN 'vacuum' THEN result -> 'changes' END) AS change)::float8 AS dead_rows_cleared,
    jsonb_array_length(result -> 'left')::float8 AS steps_left
FROM ops.maintenance WHERE finished_at IS NOT NULL ORDER BY job, maintenance_id DESC
