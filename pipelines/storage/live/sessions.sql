-- name: try_session_lock
SELECT pg_try_advisory_lock(%s)

-- name: session_lock_state
-- Only a member of the live role is a session: any login may take advisory locks where a superuser has not restricted them.
WITH locks AS MATERIALIZED (
    SELECT pg_locks.pid, granted, pg_has_role(activity.usesysid, 'strikecast_live', 'MEMBER') IS NOT FALSE AS is_session,
        format(
            'role %%s, application %%L, from %%s, process %%s', activity.usename, activity.application_name,
            coalesce(host(activity.client_addr), CASE WHEN activity.backend_start IS NULL THEN 'an address that this login cannot see' ELSE 'this machine' END),
            pg_locks.pid
        ) AS description
    FROM pg_locks LEFT JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
    WHERE locktype = 'advisory' AND classid = 0 AND objid = %(lock)s AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT holder.pid, (SELECT count(*) FROM locks WHERE is_session AND NOT granted),
    running.session_id, running.dagster_run_id, running.hands_over_at,
    extract(epoch FROM clock_timestamp() - running.heartbeat_at)::float8, intruder.pid, intruder.description
FROM (VALUES (1)) AS always
LEFT JOIN (SELECT pid FROM locks WHERE is_session AND granted LIMIT 1) AS holder ON true
LEFT JOIN (SELECT pid, description FROM locks WHERE NOT is_session AND granted LIMIT 1) AS intruder ON true
LEFT JOIN LATERAL (
    SELECT session_id, dagster_run_id, hands_over_at, heartbeat_at FROM live_data.session
    WHERE status = 'running' ORDER BY session_id DESC LIMIT 1
) AS running ON true

-- name: terminate_backend
SELECT pg_terminate_backend(%s)

-- name: set_timeouts
SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)

-- name: session_settings
SELECT set_config('synchronous_commit', 'off', false), set_config('client_connection_check_interval', '1s', false)

-- name: start_session
INSERT INTO live_data.session (dagster_run_id, symbols, feed, hands_over_at, resumed_from)
VALUES (
    %(run_id)s, %(symbols)s, %(feed)s, %(hands_over_at)s,
    (SELECT session_id FROM live_data.session ORDER BY session_id DESC LIMIT 1)
)
RETURNING session_id, started_at

-- name: mark_sessions_crashed
UPDATE live_data.session
SET status = 'crashed', ended_at = clock_timestamp(), ended_because = 'not running when session ' || %(session_id)s || ' started'
WHERE status = 'running' AND session_id <> %(session_id)s
RETURNING session_id

-- name: session_heartbeat
UPDATE live_data.session SET heartbeat_at = clock_timestamp(), cycles = %(cycles)s, write_failure = %(write_failure)s
WHERE session_id = %(session_id)s AND status = 'running'
RETURNING session_id

-- name: advance_hand_over
UPDATE live_data.session SET hands_over_at = least(hands_over_at, clock_timestamp()) WHERE session_id = %s

-- name: end_session
UPDATE live_data.session
SET status = 'stopped', ended_at = clock_timestamp(), heartbeat_at = clock_timestamp(), cycles = %(cycles)s,
    ended_because = %(ended_because)s
WHERE session_id = %(session_id)s AND status = 'running'

-- name: database_identity
SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid FROM pg_database WHERE datname = current_database()

-- name: latest_session
SELECT session_id, status, dagster_run_id, started_at, heartbeat_at, cycles, feed, write_failure, ended_because,
    extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_seconds
FROM live_data.session ORDER BY session_id DESC LIMIT 1

-- name: latest_totals
SELECT config -> 'totals' FROM live_data.session_snapshots
WHERE session_id LIKE 'live-%%' AND jsonb_typeof(config -> 'totals') = 'object'
ORDER BY snapshot_id DESC LIMIT 1

-- name: symbol_status
SELECT symbol.name AS symbol,
    bars.count AS bars, bars.first_bar_at, bars.last_bar_at,
    champion.champion AS model, champion.challenger, active.generation, version.profile, version.published_at, version.lookup_rows, version.last_bar_at AS built_to,
    (SELECT count(*) FROM historical_data.quarantined_bar AS refused WHERE refused.symbol = symbol.name) AS quarantined
FROM unnest(%s::text[]) AS symbol (name)
CROSS JOIN LATERAL (
    SELECT count(*), min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
    FROM historical_data.price_history WHERE price_history.symbol = symbol.name
) AS bars
LEFT JOIN analytics.champion ON champion.symbol = symbol.name
LEFT JOIN analytics.active_generation AS active ON active.symbol = symbol.name AND active.model = champion.champion
LEFT JOIN analytics.model_version AS version USING (generation)
ORDER BY symbol.name
