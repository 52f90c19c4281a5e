UPDATE live_data.session
SET status = 'stopped', ended_at = clock_timestamp(), heartbeat_at = clock_timestamp(), cycles = %(cycles)s
WHERE session_id = %(session_id)s
