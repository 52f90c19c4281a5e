UPDATE live_data.session SET status = 'crashed', ended_at = heartbeat_at, ended_because = 'silent, found by retention'
WHERE status = 'running' AND heartbeat_at < %s
