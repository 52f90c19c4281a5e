UPDATE live_data.session SET heartbeat_at = clock_timestamp(), cycles = %(cycles)s
WHERE session_id = %(session_id)s AND status = 'running'
RETURNING session_id
