UPDATE live_data.session
SET status = 'crashed', ended_at = clock_timestamp(), ended_because = 'found dead by session ' || %(session_id)s
WHERE status = 'running' AND session_id <> %(session_id)s
RETURNING session_id
