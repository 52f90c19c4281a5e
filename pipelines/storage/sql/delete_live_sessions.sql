WITH victim AS (
    SELECT session_id FROM live_data.session
    WHERE status <> 'running' AND ended_at < %(before)s AND session_id < (SELECT max(session_id) FROM live_data.session)
    ORDER BY session_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM live_data.session USING victim WHERE session.session_id = victim.session_id RETURNING 1
)
SELECT count(*) AS session FROM gone
