SELECT started_at, coalesce(ended_at, heartbeat_at) FROM live_data.session
WHERE coalesce(ended_at, heartbeat_at) >= %s ORDER BY started_at
