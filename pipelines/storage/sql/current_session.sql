SELECT session_id, status, dagster_run_id, started_at, heartbeat_at, cycles
FROM live_data.session ORDER BY session_id DESC LIMIT 1
