-- A session that runs has been there until now, unless it has been silent for longer than the sensor allows.
SELECT started_at, CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN clock_timestamp()
    ELSE coalesce(ended_at, heartbeat_at) END AS until
FROM live_data.session
WHERE coalesce(ended_at, heartbeat_at) >= %s ORDER BY started_at
