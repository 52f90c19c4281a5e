INSERT INTO live_data.session (dagster_run_id, symbols) VALUES (%s, %s) RETURNING session_id
