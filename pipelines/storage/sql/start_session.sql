INSERT INTO live_data.session (dagster_run_id, symbols, feed, hands_over_at, resumed_from)
VALUES (
    %(run_id)s, %(symbols)s, %(feed)s, %(hands_over_at)s,
    (SELECT session_id FROM live_data.session ORDER BY session_id DESC LIMIT 1)
)
RETURNING session_id, started_at
