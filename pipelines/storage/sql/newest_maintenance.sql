SELECT DISTINCT ON (job) job, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_seconds,
    extract(epoch FROM finished_at - started_at)::float8 AS seconds
FROM ops.maintenance WHERE finished_at IS NOT NULL ORDER BY job, maintenance_id DESC
