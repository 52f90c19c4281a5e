SELECT holder.pid, waiting.count, running.session_id, running.dagster_run_id, running.hands_over_at,
    extract(epoch FROM clock_timestamp() - running.heartbeat_at)::float8
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %(lock)s AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS holder ON true
CROSS JOIN LATERAL (
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND classid = 0 AND objid = %(lock)s AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS waiting
LEFT JOIN LATERAL (
    SELECT session_id, dagster_run_id, hands_over_at, heartbeat_at FROM live_data.session
    WHERE status = 'running' ORDER BY session_id DESC LIMIT 1
) AS running ON true
