-- Since when somebody could have been missed: since the session that runs began to, or since the last one ended.
SELECT CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN started_at
    ELSE coalesce(ended_at, heartbeat_at) END
FROM live_data.session ORDER BY session_id DESC LIMIT 1
