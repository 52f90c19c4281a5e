-- name: builds
-- The newest build of each symbol and model.
SELECT name, unit, value, jsonb_build_object('symbol', symbol, 'model', model) AS labels FROM (
    SELECT DISTINCT ON (symbol, model) *, extract(epoch FROM completed_at - created_at)::float8 AS seconds,
        extract(epoch FROM clock_timestamp() - completed_at)::float8 AS age_seconds
    FROM analytics.model_version WHERE state = 'complete' ORDER BY symbol, model, generation DESC
) AS newest
CROSS JOIN LATERAL (VALUES ('build_seconds', 's', seconds), ('build_age', 's', age_seconds), ('build_bars', '', coalesce(bar_count, 0)),
    ('build_lookup_rows', '', coalesce(lookup_rows, 0))) AS measured (name, unit, value)
UNION ALL
SELECT 'first_build_age', 's', extract(epoch FROM %(now)s - min(created_at))::float8, '{}' FROM analytics.model_version HAVING count(*) > 0

-- name: maintenance
-- The newest finished run of each job with its results: rows that retention removed, dead rows that vacuum removed, steps not executed.
SELECT name, unit, value, jsonb_strip_nulls(jsonb_build_object('job', job, 'what', what)) AS labels FROM (
    SELECT DISTINCT ON (job) *, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_seconds,
        extract(epoch FROM finished_at - started_at)::float8 AS seconds
    FROM ops.maintenance WHERE finished_at IS NOT NULL ORDER BY job, maintenance_id DESC
) AS newest
CROSS JOIN LATERAL (VALUES
    ('maintenance_age', 's', NULL, age_seconds),
    ('maintenance_seconds', 's', NULL, seconds),
    ('maintenance_result', '', 'rows_removed',
        (SELECT sum(value::float8) FROM jsonb_each_text(CASE job WHEN 'retention' THEN result -> 'rows' END))),
    ('maintenance_result', '', 'dead_rows_cleared',
        (SELECT sum(greatest(0, (change ->> 'dead_rows_before')::float8 - (change ->> 'dead_rows_after')::float8))
            FROM jsonb_array_elements(CASE job WHEN 'vacuum' THEN result -> 'changes' END) AS change)),
    ('maintenance_result', '', 'steps_left', jsonb_array_length(result -> 'left'))
) AS measured (name, unit, what, value)
WHERE value IS NOT NULL

-- name: availability
-- Share of the time since a given one, or since the first session, that live sessions cover.
-- A running session lasts until now, unless its last heartbeat is older than the sensor allows.
WITH span AS (
    SELECT tstzrange(started_at, CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds'
        THEN clock_timestamp() ELSE greatest(started_at, coalesce(ended_at, heartbeat_at)) END) AS span
    FROM live_data.session
), period AS (
    SELECT tstzrange(greatest(%(since)s, min(started_at)), %(now)s) AS period FROM live_data.session HAVING min(started_at) < %(now)s
)
SELECT 'session_availability' AS name, '%%' AS unit, (100 * coalesce((SELECT sum(extract(epoch FROM upper(covered) - lower(covered)))
        FROM unnest((SELECT range_agg(span) FROM span) * tstzmultirange(period)) AS covered), 0)
    / extract(epoch FROM upper(period) - lower(period)))::float8 AS value, '{}'::jsonb AS labels
FROM period

-- name: refreshed_since
SELECT CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN started_at
    ELSE coalesce(ended_at, heartbeat_at) END
FROM live_data.session ORDER BY session_id DESC LIMIT 1

-- name: live_session
-- The newest snapshot since a time; a session that has not refreshed yet has no latencies, one of an older version no counts.
WITH newest AS (
    SELECT config FROM live_data.session_snapshots
    WHERE session_id LIKE 'live-%%' AND created_at >= %(hour_ago)s AND config -> 'latencies_ms' <> '{}'
    ORDER BY snapshot_id DESC LIMIT 1
)
SELECT 'live_latency' AS name, 'ms' AS unit, value::float8, jsonb_build_object('stage', stage, 'percentile', percentile) AS labels
FROM newest, jsonb_each(config -> 'latencies_ms') AS stages (stage, percentiles), jsonb_each(percentiles) AS each (percentile, value)
UNION ALL
SELECT name, unit, value::float8, '{}' FROM newest, LATERAL (VALUES
    ('live_cycles', '', config -> 'counts' ->> 'cycles'),
    ('live_cycles_late', '', config -> 'counts' ->> 'overruns'),
    ('live_ticks', '', config -> 'counts' ->> 'ticks'),
    ('live_stale', 's', config -> 'counts' ->> 'seconds_stale'),
    ('live_longest_gap', 's', config ->> 'longest_gap_seconds'),
    ('live_start', 's', config ->> 'start_seconds')
) AS measured (name, unit, value)
