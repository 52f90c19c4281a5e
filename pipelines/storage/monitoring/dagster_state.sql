-- name: runs_in_progress
-- Those that were handed to workers have a tag, and may be on this machine, too.
SELECT run_id FROM runs WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')
    AND NOT EXISTS (SELECT FROM run_tags WHERE run_tags.run_id = runs.run_id AND run_tags.key = 'strikecast/worker')

-- name: ticks
-- Dagster stores states as JSON, and timestamps without a zone in UTC.
WITH state AS (
    SELECT selector_id, lower(instigator_type) AS kind, status, instigator_body::jsonb #>> '{origin, job_name}' AS name,
        instigator_body::jsonb -> 'job_specific_data' AS data
    FROM instigators
)
SELECT kind, name, state.status <> 'STOPPED' AS is_on,
    to_timestamp(greatest(
        (data ->> 'last_iteration_timestamp')::float8,
        (data ->> 'last_tick_start_timestamp')::float8,
        (data ->> 'last_tick_timestamp')::float8
    )) AS active_at,
    newest.ticked_at, newest.status AS status, (data ->> 'min_interval')::float8 AS interval_seconds,
    CASE jsonb_typeof(data -> 'cron_schedule')
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(data -> 'cron_schedule'))
        WHEN 'string' THEN ARRAY[data ->> 'cron_schedule']
    END AS crons,
    to_timestamp((data ->> 'start_timestamp')::float8) AS due_since
FROM state
LEFT JOIN LATERAL (
    SELECT "timestamp" AT TIME ZONE 'UTC' AS ticked_at, lower(job_ticks.status) AS status
    FROM job_ticks WHERE job_ticks.selector_id = state.selector_id ORDER BY "timestamp" DESC LIMIT 1
) AS newest ON true
UNION ALL
SELECT 'daemon', daemon_type, true, "timestamp" AT TIME ZONE 'UTC', NULL, NULL, NULL, NULL, NULL FROM daemon_heartbeats
ORDER BY kind, name
