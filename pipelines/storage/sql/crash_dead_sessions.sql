UPDATE live_data.session SET status = 'crashed', ended_at = clock_timestamp()
WHERE status = 'running' AND session_id <> %s
RETURNING dagster_run_id
