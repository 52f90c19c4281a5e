UPDATE live_data.session
SET status = %(status)s, ended_at = clock_timestamp(), heartbeat_at = clock_timestamp(), cycles = %(cycles)s,
    ended_because = %(ended_because)s
WHERE session_id = %(session_id)s AND status = 'running'
